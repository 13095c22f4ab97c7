/**
 * The one fetcher of feeds: a file by its address, from a source, with a limit of its size, a deadline and, for large
 * files, a digest that is checked while it is written. A file of the cache is named by its digest, and downloaded once.
 */
import { createHash, randomUUID } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, open, readdir, rename, rm, stat, type FileHandle } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { request, type Dispatcher } from "undici";
import { clock } from "../../runtime/clock.ts";
import { connections } from "../../runtime/connections.ts";
import type { Deadline } from "../../runtime/deadline.ts";
import { messageOf, UserError } from "../../runtime/errors.ts";
import { sendRetrying } from "../retry.ts";
import {
  cacheFault,
  isCode,
  leads,
  missing,
  otherDigest,
  readFault,
  refused,
  shown,
  tooLarge,
} from "./fetch-errors.ts";
import { mayLead, placeOf, type Source } from "./source.ts";

/** A file of a feed. */
export interface Wanted {
  source: Source;
  /** Its own address, also when a mirror is asked. */
  address: URL;
  /** What a larger file is refused for, in bytes. */
  mostBytes: number;
  deadline: Deadline;
}

/** A server that may answer otherwise at the next try. */
class BusyServer extends Error {}

/** How often a file may lead to another place. */
const MOST_REDIRECTS = 5;
const HEADERS_MS = 20_000;
const BODY_MS = 60_000;

/** Reads a small file. */
export async function fetchBytes(wanted: Wanted): Promise<Buffer> {
  return await requestFile(wanted, async (place, sockets) => {
    const chunks: Buffer[] = [];
    for await (const chunk of streamOf(place, wanted, sockets)) chunks.push(chunk);
    return Buffer.concat(chunks);
  });
}

/** Reads a small file of text. @throws UserError when it is not UTF-8 */
export async function fetchText(wanted: Wanted): Promise<string> {
  const bytes = await fetchBytes(wanted);
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new UserError({
      what: "a file that should be text is not UTF-8",
      where: placeOf(wanted.source, wanted.address).href,
      todo: "see what the address leads to",
    });
  }
}

/**
 * Reads a file of which the digest is known into the cache.
 * @param cache folder; it is made if it does not exist
 * @returns its path there, and how many bytes had to be downloaded: none when the cache had it
 * @throws UserError when the file has another digest: it does not get into the cache
 */
export async function fetchFile(
  wanted: Wanted,
  sha256: string,
  cache: string,
): Promise<{ path: string; downloaded: number }> {
  const path = join(cache, "sha256", sha256);
  if (await isWhole(path, sha256)) return { path, downloaded: 0 };
  const downloaded = await requestFile(wanted, async (place, sockets) => {
    const temporary = `${path}.${randomUUID()}.part`;
    try {
      const written = await writeStream(streamOf(place, wanted, sockets), temporary);
      if (written.sha256 !== sha256) throw otherDigest(place, sha256, written);
      await useCache(temporary, () => rename(temporary, path));
      return written.bytes;
    } finally {
      await rm(temporary, { force: true });
    }
  });
  return { path, downloaded };
}

/** Names of what lies in a folder of a source: folders of a disk, or the links of the page that a server makes of one. */
export async function listFolder(wanted: Wanted): Promise<string[]> {
  const place = placeOf(wanted.source, wanted.address);
  if (place.protocol === "file:")
    return await readdir(place).catch((error: unknown) => Promise.reject(readFault(place, error)));
  const page = await fetchText(wanted);
  return [...page.matchAll(/\bhref="([^"?#:]+)"/g)].map(([, name = ""]) => name);
}

/** A file of the cache may have been damaged since it was written. */
async function isWhole(path: string, sha256: string): Promise<boolean> {
  const hash = createHash("sha256");
  try {
    for await (const chunk of createReadStream(path)) hash.update(chunk as Buffer);
  } catch (error) {
    if (isCode(error, "ENOENT")) return false;
    throw cacheFault(path, error);
  }
  if (hash.digest("hex") === sha256) return true;
  await rm(path);
  return false;
}

interface Written {
  bytes: number;
  sha256: string;
}

async function writeStream(content: AsyncIterable<Buffer>, path: string): Promise<Written> {
  const hash = createHash("sha256");
  let bytes = 0;
  const handle = await useCache(path, async (): Promise<FileHandle> => {
    await mkdir(dirname(path), { recursive: true });
    await removeStale(dirname(path));
    return await open(path, "wx");
  });
  try {
    for await (const chunk of content) {
      hash.update(chunk);
      bytes += chunk.length;
      await useCache(path, () => handle.writeFile(chunk));
    }
    await useCache(path, () => handle.sync());
  } finally {
    await handle.close();
  }
  return { bytes, sha256: hash.digest("hex") };
}

/** What a killed process has left of a download: none takes a day. */
const STALE_MS = 24 * 3_600_000;

async function removeStale(folder: string): Promise<void> {
  const parts = (await readdir(folder)).filter((name) => name.endsWith(".part"));
  for (const name of parts) {
    const { mtimeMs } = await stat(join(folder, name)).catch(() => ({ mtimeMs: Infinity }));
    if (clock.date() - mtimeMs > STALE_MS) await rm(join(folder, name), { force: true });
  }
}

/** Reads with retries: a connection that breaks begins anew, and so does a server that is busy. */
async function requestFile<T>(
  { source, address, deadline }: Wanted,
  read: (place: URL, sockets: Dispatcher) => Promise<T>,
): Promise<T> {
  const place = placeOf(source, address);
  if (place.protocol !== "file:" && source.kind === "upstream" && place.protocol !== "https:")
    throw leads(address, place);
  const sockets = connections({ headersTimeout: HEADERS_MS, bodyTimeout: BODY_MS });
  const title = `GET ${shown(place)}`;
  try {
    return await sendRetrying({
      title,
      send: () => read(place, sockets),
      isRepeatable: true,
      isTransient: (error) => error instanceof BusyServer,
      pauseMs: 500,
      beforeNextTry: () => (deadline.passed ? Promise.reject(deadline.error(title)) : Promise.resolve()),
      unreachable: (attempts, cause) =>
        new UserError(
          {
            what: `a file could not be downloaded in ${attempts} tries: ${messageOf(cause)}`,
            where: shown(place),
            todo: "see whether this machine reaches the address (HTTPS_PROXY, NO_PROXY), or name a mirror",
          },
          { cause },
        ),
    });
  } catch (error) {
    if (deadline.passed && !(error instanceof UserError)) throw deadline.error(title);
    throw error instanceof BusyServer ? refused(place, error.message) : error;
  } finally {
    await sockets.destroy();
  }
}

/** The bytes of a place, not more of them than are allowed. */
async function* streamOf(place: URL, { mostBytes, deadline }: Wanted, sockets: Dispatcher): AsyncGenerator<Buffer> {
  let bytes = 0;
  const content = place.protocol === "file:" ? readDisk(place) : await ask(place, deadline, sockets);
  for await (const chunk of content) {
    bytes += chunk.length;
    if (bytes > mostBytes) throw tooLarge(place, mostBytes);
    deadline.throwIfStopped();
    if (deadline.passed) throw deadline.error(`GET ${shown(place)}`);
    yield chunk;
  }
}

async function* readDisk(place: URL): AsyncGenerator<Buffer> {
  try {
    for await (const chunk of createReadStream(fileURLToPath(place))) yield chunk as Buffer;
  } catch (error) {
    throw readFault(place, error);
  }
}

/** Asks a server, and follows it where it may lead. */
async function ask(first: URL, deadline: Deadline, sockets: Dispatcher): Promise<AsyncIterable<Buffer>> {
  let place = first;
  for (let redirects = 0; ; redirects += 1) {
    const answer = await request(place, { dispatcher: sockets, signal: deadline.signal() });
    const { statusCode, headers, body } = answer;
    if (statusCode === 200) return body;
    await body.dump();
    if (statusCode === 404 || statusCode === 410) throw missing(place);
    if (statusCode >= 500 || statusCode === 429) throw new BusyServer(`the server answers with ${statusCode}`);
    const to = locationOf(headers.location, place);
    if (statusCode < 300 || statusCode > 399 || to === undefined)
      throw refused(place, `the server answers with ${statusCode}`);
    if (!mayLead(place, to) || redirects === MOST_REDIRECTS) throw leads(place, to);
    place = to;
  }
}

function locationOf(location: string | string[] | undefined, place: URL): URL | undefined {
  return typeof location === "string" ? (URL.parse(location, place.href) ?? undefined) : undefined;
}

/** Runs what writes to the cache: its errors are of the disk, and none of the connection. */
async function useCache<T>(path: string, write: () => Promise<T>): Promise<T> {
  return await write().catch((error: unknown) => Promise.reject(cacheFault(path, error)));
}
