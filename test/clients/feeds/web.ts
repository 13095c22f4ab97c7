import { createHash } from "node:crypto";
import http, { type IncomingMessage, type ServerResponse } from "node:http";
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Agent } from "undici";
import { useConnections } from "../../../src/runtime/connections.ts";
import { Deadline } from "../../../src/runtime/deadline.ts";
import { sayTo } from "../../../src/runtime/log.ts";
import { projectRoot } from "../../../src/runtime/project.ts";
import { listen } from "../../support/http-proxy.ts";

type Answer = string | Buffer | ((request: IncomingMessage, response: ServerResponse) => void);

/**
 * Gives each test of a suite a web and a cache of downloads, both empty. What the clients say of their tries is not shown.
 */
export function withWeb(): Web {
  const web = new Web();
  beforeEach(async () => {
    sayTo(() => undefined);
    await web.start();
  });
  afterEach(async () => {
    await web.stop();
    sayTo();
  });
  return web;
}

/** A server on loopback that has the files of many hosts, each below the name of its host, as a mirror has them. */
class Web {
  readonly files = new Map<string, Answer>();
  /** Paths that were asked for, in their order. */
  readonly asked: string[] = [];
  /** Bytes of all bodies that were sent. */
  sent = 0;
  root = "";
  /** A directory for downloads. */
  cache = "";
  private server: http.Server | undefined;

  async start(): Promise<void> {
    this.files.clear();
    this.asked.length = 0;
    this.sent = 0;
    this.cache = await mkdtemp(join(tmpdir(), "evergreen-feeds-"));
    this.server = http.createServer((request, response) => this.answer(request, response));
    this.root = `http://127.0.0.1:${await listen(this.server)}`;
  }

  async stop(): Promise<void> {
    useConnections();
    this.server?.closeAllConnections();
    this.server?.close();
    await rm(this.cache, { recursive: true, force: true });
  }

  /** Has the clients reach every host here, as if it were the network: what they ask of `https://HOST/` comes here. */
  beUpstream(): void {
    const { root } = this;
    useConnections((options) =>
      new Agent(options).compose(
        (dispatch) => (given, handler) =>
          dispatch({ ...given, origin: root, path: `/${new URL(String(given.origin)).host}${given.path}` }, handler),
      ),
    );
  }

  private answer(request: IncomingMessage, response: ServerResponse): void {
    const path = decodeURIComponent(request.url ?? "");
    this.asked.push(path);
    const found = this.files.get(path);
    if (typeof found === "function") {
      found(request, response);
      return;
    }
    response.statusCode = found === undefined ? 404 : 200;
    this.sent += found?.length ?? 0;
    response.end(found);
  }
}

export const redirect =
  (to: string, status = 302): Answer =>
  (_, response) =>
    void response.writeHead(status, { location: to }).end();

export const sha256 = (content: string | Buffer): string => createHash("sha256").update(content).digest("hex");

export const deadline = () => new Deadline("the feeds of a test", 600);

const fixture = (file: string) => readFileSync(join(projectRoot, "test/fixtures/ubuntu-signed-sums", file));
/** A list of a real release, 20260725, and its signature by Ubuntu's key. */
export const realSums = fixture("SHA256SUMS");
export const realSignature = fixture("SHA256SUMS.gpg");
