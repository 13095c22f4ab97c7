import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import { Deadline } from "../../src/runtime/deadline.ts";
import { follow, Kube, type KubeObject, readKubeconfig } from "../../lab/kube.ts";

/** An API server that says what the test tells it to: each list and each watch is one entry. */
class Script {
  readonly asked: string[] = [];
  /** Version of the store, for whoever asks whether it went back. */
  store = "1000";
  private readonly lists: object[];
  private readonly watches: string[][];
  private readonly server: http.Server;

  constructor(lists: object[], watches: string[][]) {
    this.lists = lists;
    this.watches = watches;
    this.server = http.createServer((request, response) => this.answer(request.url ?? "", response));
  }

  async listen(): Promise<string> {
    this.server.listen(6443, "127.64.0.5");
    await once(this.server, "listening");
    return "http://127.64.0.5:6443";
  }

  close(): void {
    this.server.close();
    this.server.closeAllConnections();
  }

  private answer(url: string, response: http.ServerResponse): void {
    const { pathname, searchParams } = new URL(url, "http://api");
    if (pathname === "/api/v1/services") return void response.end(JSON.stringify(list(this.store)));
    this.asked.push(searchParams.has("watch") ? `watch ${searchParams.get("resourceVersion") ?? ""}` : "list");
    if (!searchParams.has("watch")) {
      response.end(JSON.stringify(this.lists.shift()));
      return;
    }
    const lines = this.watches.shift();
    if (lines === undefined) {
      response.flushHeaders();
      return;
    }
    if (lines[0] === "410") {
      response.writeHead(410).end("{}");
      return;
    }
    // Torn anywhere: lines and UTF-8 sequences do not care about packets.
    const bytes = Buffer.from(lines.map((line) => `${line}\n`).join(""));
    const tear = bytes.length > 0 ? bytes.indexOf(0xc3) + 1 || 3 : 0;
    response.write(bytes.subarray(0, tear));
    setTimeout(() => response.write(bytes.subarray(tear), () => response.destroy()), 20);
  }
}

const item = (name: string, resourceVersion: string): KubeObject => ({
  metadata: { name, uid: name, resourceVersion },
});
const list = (version: string, ...names: string[]) => ({
  metadata: { resourceVersion: version },
  items: names.map((name) => item(name, version)),
});
const line = (type: string, name: string, version: string) => JSON.stringify({ type, object: item(name, version) });

describe("the lab's Kubernetes client", () => {
  let kube: Kube;
  let script: Script;
  let stop: AbortController;

  async function run(lists: object[], watches: string[][], until: number, store = "1000"): Promise<string[]> {
    script = new Script(lists, watches);
    script.store = store;
    kube = new Kube({ server: await script.listen(), ca: "", cert: "", key: "" });
    stop = new AbortController();
    const seen: string[] = [];
    const handler = follow<KubeObject>(
      ({ metadata }) => seen.push(`+${metadata.name}`),
      ({ metadata }, really) => seen.push(`${really ? "-" : "?"}${metadata.name}`),
    );
    void kube.watch("/api/v1/things?labelSelector=a%3Db", handler, stop.signal);
    await new Deadline(`${until} events`, 60).poll(10, () => Promise.resolve(seen.length >= until ? true : undefined));
    return seen;
  }

  afterEach(async () => {
    stop.abort();
    await kube.close();
    script.close();
  });

  it("goes on from the last version that it saw when the connection breaks", async () => {
    const watches = [[line("ADDED", "zürich", "11"), line("BOOKMARK", "", "15")], [line("DELETED", "a", "16")]];
    assert.deepEqual(await run([list("10", "a")], watches, 3), ["+a", "+zürich", "-a"]);
    assert.deepEqual(script.asked.slice(0, 3), ["list", "watch 10", "watch 15"]);
  });

  it("lists again when history is gone, and tells what vanished meanwhile", async () => {
    const seen = await run([list("10", "a", "b"), list("90", "b", "c")], [["410"]], 5);
    assert.deepEqual(seen, ["+a", "+b", "?a", "+b", "+c"]);
  });

  it("lists again when the store is older than what was seen of it, as after the restore of a snapshot", async () => {
    const watches = [[line("ADDED", "b", "11")], [line("ADDED", "c", "9")]];
    assert.deepEqual(await run([list("10", "a"), list("8", "a")], watches, 5, "8"), ["+a", "+b", "?b", "+a", "+c"]);
    assert.deepEqual(script.asked.slice(0, 4), ["list", "watch 10", "list", "watch 8"]);
  });

  it("lists again after an error event", async () => {
    const gone = JSON.stringify({ type: "ERROR", object: { metadata: {}, code: 410 } });
    assert.deepEqual(await run([list("10", "a"), list("20", "a")], [[gone]], 2), ["+a", "+a"]);
  });

  it("reads an embedded kubeconfig", () => {
    const base64 = (text: string) => Buffer.from(text).toString("base64");
    const text = `
clusters: [{ name: c, cluster: { server: "https://127.64.0.5:6443", certificate-authority-data: ${base64("CA")} } }]
users: [{ name: u, user: { client-certificate-data: ${base64("CERT")}, client-key-data: ${base64("KEY")} } }]`;
    const access = { server: "https://127.64.0.5:6443", ca: "CA", cert: "CERT", key: "KEY" };
    assert.deepEqual(readKubeconfig(text), access);
    assert.throws(() => readKubeconfig("clusters: []\nusers: []"), /no cluster/);
  });
});
