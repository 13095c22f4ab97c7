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

  /** Sends bytes as they are. */
  function sendRaw(method: string, path: string, headers: Record<string, string>, body: string) {
    const sized = "Transfer-Encoding" in headers || body === "" ? {} : { "Content-Length": String(body.length) };
    const authorization = `PVEAPIToken=${bench.dc.credential("root@pam!lab")}`;
    const options = { host: "127.0.0.1", port: 28_180, method, path, ca: bench.ca, agent: false };
    return new Promise<{ status: number; reason: string; text: string }>((resolve, reject) => {
      const sent = request(
        { ...options, headers: { Authorization: authorization, ...sized, ...headers } },
        (response) => {
          let text = "";
          response.setEncoding("utf8").on("data", (part: string) => (text += part));
          response.on("end", () => {
            resolve({ status: response.statusCode ?? 0, reason: response.statusMessage ?? "", text });
          });
        },
      );
      // What is refused is not read to its end.
      sent.on(
        "error",
        (error: NodeJS.ErrnoException) => error.code !== "EPIPE" && error.code !== "ECONNRESET" && reject(error),
      );
      sent.end(body);
    });
  }

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

  const form = "application/x-www-form-urlencoded";
  const vm = "/api2/json/nodes/pve1/qemu/9001/config";
  const wire: [
    title: string,
    method: string,
    path: string,
    headers: Record<string, string>,
    body: string,
    answer: string,
  ][] = [
    [
      "no chunked body",
      "POST",
      vm,
      { "Transfer-Encoding": "chunked" },
      "a=1",
      "501 chunked transfer encoding not supported",
    ],
    ["no body of a GET", "GET", vm, {}, "a=1", "501 Unexpected content for method 'GET'"],
    ["no body of a DELETE", "DELETE", vm, {}, "a=1", "501 Unexpected content for method 'DELETE'"],
    ["no other method", "PATCH", vm, {}, "", "501 method 'PATCH' not available"],
    [
      "no form above 512 KiB",
      "PUT",
      vm,
      { "Content-Type": form, "Content-Length": String(512 * 1024 + 1) },
      "",
      "501 for data too large",
    ],
    [
      "no other type",
      "PUT",
      vm,
      { "Content-Type": "text/plain" },
      "name=a",
      "506 upload 'Content-Type 'text/plain' not implemented",
    ],
    ["a body without a type as a form", "PUT", vm, {}, "name=untyped", "200 name=untyped"],
    ["a value until a bare =", "PUT", vm, { "Content-Type": form }, "description=a=b", "200 description=a"],
    [
      "a bare ; as the end of a parameter",
      "PUT",
      vm,
      { "Content-Type": form },
      "description=a;name=b",
      "200 description=a name=b",
    ],
    [
      "no text that comes twice",
      "PUT",
      vm,
      { "Content-Type": form },
      "name=a&name=b",
      "400 name: type check ('string') failed - got ARRAY",
    ],
    [
      "no number that comes twice",
      "PUT",
      vm,
      { "Content-Type": form },
      "cores=1&cores=2",
      "400 cores: type check ('integer') failed - got ARRAY",
    ],
    ["the query before the body", "PUT", `${vm}?name=query`, { "Content-Type": form }, "name=body", "200 name=query"],
    ["an empty value as none", "PUT", vm, { "Content-Type": form }, "name=", "200"],
    [
      "no empty value of what there is not",
      "PUT",
      vm,
      { "Content-Type": form },
      "nosuch=",
      "400 nosuch: property is not defined in schema and the schema does not allow additional properties",
    ],
    [
      "an empty text of JSON as one",
      "PUT",
      vm,
      { "Content-Type": "application/json" },
      '{"agent":""}',
      "400 agent: invalid format - format error\nagent.enabled: property is missing and it is not optional",
    ],
    ["booleans of JSON", "PUT", vm, { "Content-Type": "application/json" }, '{"onboot":true}', "200 onboot=1"],
  ];
  for (const [title, method, path, headers, body, answer] of wire) {
    it(`reads ${title}`, async () => {
      await bench.data("PUT", "nodes/pve1/qemu/9001/config", { delete: "description,name,onboot" });
      const reply = await sendRaw(method, path, headers, body);
      const { errors } = (reply.text === "" ? {} : JSON.parse(reply.text)) as { errors?: Record<string, string> };
      const [error] = Object.entries(errors ?? {});
      const config = await bench.data<Record<string, unknown>>("GET", "nodes/pve1/qemu/9001/config");
      const kept = ["description", "name", "onboot"]
        .filter((key) => key in config)
        .map((key) => `${key}=${String(config[key])}`);
      const said = reply.status === 200 ? kept.join(" ") : (error?.join(": ") ?? reply.reason);
      assert.equal(`${reply.status} ${said}`.trim(), answer);
    });
  }

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
    assert.equal(bench.dc.requests.ofProvider, 0);
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
