/** How a download fails, in words for an operator. */
import { fileURLToPath } from "node:url";
import { messageOf, UserError } from "../../runtime/errors.ts";

/** The source has no such file: a release without files says so, an error of any other kind does not. */
export class NotThere extends UserError {}

/** A place for a message: what GitHub leads to has a token in its query. */
export function shown(place: URL): string {
  return place.protocol === "file:" ? place.href : `${place.origin}${place.pathname}`;
}

export function cacheFault(path: string, error: unknown): UserError {
  return new UserError(
    {
      what: `the cache of downloads cannot be used: ${messageOf(error)}`,
      where: path,
      todo: "give the file system room and this user the right to it, or name another folder: EVERGREEN_CACHE",
    },
    { cause: error },
  );
}

export function readFault(place: URL, error: unknown): UserError {
  if (isCode(error, "ENOENT")) return missing(place);
  return new UserError(
    {
      what: `a file of the mirror cannot be read: ${messageOf(error)}`,
      where: fileURLToPath(place),
      todo: "give this user the right to read it",
    },
    { cause: error },
  );
}

export function missing(place: URL): NotThere {
  return new NotThere({
    what: "the source has no such file",
    where: shown(place),
    todo: "see whether the release is published there; a mirror needs a copy of it, below the name of its host",
  });
}

export function refused(place: URL, why: string): UserError {
  return new UserError({
    what: `a file could not be downloaded: ${why}`,
    where: shown(place),
    todo: "open the address in a browser; a site that lets nobody download needs a mirror: --mirror",
  });
}

export function leads(from: URL, to: URL): UserError {
  return new UserError({
    what: `the server leads to ${to.protocol}//${to.host}, where nothing may be downloaded from`,
    where: shown(from),
    todo: "name a mirror that has the files themselves; what is downloaded comes by HTTPS from hosts that are known",
  });
}

export function tooLarge(place: URL, most: number): UserError {
  return new UserError({
    what: `a file is larger than the ${most} bytes that are read of it`,
    where: shown(place),
    todo: "see what the address leads to",
  });
}

export function otherDigest(
  place: URL,
  sha256: string,
  { sha256: found, bytes }: { sha256: string; bytes: number },
): UserError {
  return new UserError({
    what: `a file has the digest ${found} and ${bytes} bytes, and ${sha256} is pinned`,
    where: shown(place),
    todo: "it was changed, or cut off on its way: get it from another source. Pin the new digest only when you know why it is another one",
  });
}

export function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && "code" in error && error.code === code;
}
