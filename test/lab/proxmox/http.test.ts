import assert from "node:assert/strict";
import { request } from "node:https";
import { connect } from "node:tls";
import { seedSite, site } from "../../../lab/proxmox/site.ts";
import type { AccessLogEntry } from "../../../lab/proxmox/data-centre.ts";
import { Bench } from "./bench.ts";

describe("the API on the wire", () => {
  let bench: Bench;

  before(async () => {
    bench = await Bench.start(28_180);
    await seedSite(bench.dc);
  });

  after(async () => bench.stop());

  it("speaks TLS 1.3 and nothing older", async () => {
    const protocol = (maxVersion: "TLSv1.2" | "TLSv1.3") =>
      new Promise<string>((resolve) => {
        const socket = connect({ host: "127.0.0.1", port: 28_180, rejectUnauthorized: false, maxVersion });
        socket.on("secureConnect", () => {
          resolve(socket.getProtocol() ?? "none");
          socket.destroy();
        });
        socket.on("error", () => resolve("refused"));
      });
    assert.equal(await protocol("TLSv1.3"), "TLSv1.3");
    assert.equal(await protocol("TLSv1.2"), "refused");
  });

  it("sends the headers of the API daemon", async () => {
    const { headers } = await bench.call("GET", "version");
    assert.equal(headers["content-type"], "application/json;charset=UTF-8");
    assert.equal(headers.server, "pve-api-daemon/3.0");
    assert.equal(headers["cache-control"], "max-age=0");
  });

  it("names what it does not emulate", async () => {
    for (const [method, path] of [
      ["GET", "cluster/ha/resources"],
      ["POST", "nodes/pve1/qemu/9001/monitor"],
      ["DELETE", "version"],
    ] as const) {
      const reply = await bench.call(method, path);
      assert.deepEqual([reply.status, reply.reason], [501, `Method '${method} /${path}' not implemented`]);
    }
  });

  it("reads no chunked body, no body of a GET, and no method but four", async () => {
    const send = (method: string, headers: Record<string, string>, body?: string) =>
      new Promise<string>((resolve, reject) => {
        const path = "/api2/json/version";
        const sent = request({ host: "127.0.0.1", port: 28_180, method, path, headers, ca: bench.ca, agent: false });
        sent.on("error", reject);
        sent.on("response", (response) => {
          response.resume();
          resolve(`${response.statusCode ?? 0} ${response.statusMessage ?? ""}`);
        });
        sent.end(body);
      });
    const chunked = { "Transfer-Encoding": "chunked" };
    assert.equal(await send("POST", chunked, "a=1"), "501 chunked transfer encoding not supported");
    assert.equal(await send("GET", { "Content-Length": "3" }, "a=1"), "501 Unexpected content for method");
    assert.equal(await send("PATCH", {}), "501 method 'PATCH' not available");
  });

  it("takes colons and slashes of volume ids as they come", async () => {
    for (const written of [
      "local:9001/base-9001-disk-0.qcow2",
      "local:9001%2Fbase-9001-disk-0.qcow2",
      "local%3A9001%2Fbase-9001-disk-0.qcow2",
    ]) {
      const reply = await bench.call("GET", `nodes/pve1/storage/local/content/${written}`);
      assert.equal(reply.status, 200, written);
    }
  });

  it("numbers and texts are what real answers have", async () => {
    type Config = Record<string, unknown>;
    const config = await bench.data<Config>("GET", "nodes/pve1/qemu/9001/config");
    assert.equal(typeof config.memory, "string");
    assert.equal(typeof config.cores, "number");
    assert.equal(typeof (await bench.data("GET", "cluster/nextid")), "string");
  });

  it("counts requests by token and endpoint, and logs them", async () => {
    const entries: AccessLogEntry[] = [];
    bench.dc.accessLog = (entry) => entries.push(entry);
    const before = bench.dc.requests.byToken.get(site.rolloutToken) ?? 0;
    await bench.call("GET", "nodes/pve1/qemu/9001/config", {}, site.rolloutToken);
    await bench.call("GET", "nodes/pve1/qemu/9002/config", {}, site.rolloutToken);
    assert.equal(bench.dc.requests.byToken.get(site.rolloutToken), before + 2);
    assert.ok((bench.dc.requests.byEndpoint.get("GET nodes/{node}/qemu/{vmid}/config") ?? 0) >= 2);
    assert.deepEqual(
      entries.map((entry) => `${entry.token ?? ""} ${entry.method} ${entry.path} ${entry.status}`),
      [9001, 9002].map((vmid) => `${site.rolloutToken} GET nodes/pve1/qemu/${vmid}/config 200`),
    );
    assert.ok(!JSON.stringify(entries.map((entry) => entry.token)).includes("="), "no secret in the log");
  });

  it("refuses a port that is taken", async () => {
    await assert.rejects(Bench.start(28_180), /EADDRINUSE/);
  });
});
