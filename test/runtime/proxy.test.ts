import assert from "node:assert/strict";
import http from "node:http";
import { readdirSync, readFileSync } from "node:fs";
import { request } from "undici";
import { Proxmox } from "../../src/clients/proxmox/client.ts";
import { headSnapshot } from "../../src/clients/s3/bucket.ts";
import { connections } from "../../src/runtime/connections.ts";
import { Deadline } from "../../src/runtime/deadline.ts";
import { proxyOf } from "../../src/runtime/proxy.ts";
import { HttpProxy, listen, setProxies } from "../support/http-proxy.ts";

/** Go's own table of hosts and what NO_PROXY makes of them: golang.org/x/net/http/httpproxy, UseProxyTests. */
const NO_PROXY =
  "foobar.com, .barbaz.net, *.wildcard.io, 192.168.1.1, 192.168.1.2:81, 192.168.1.3:80, 10.0.0.0/30, 2001:db8::52:0:1, [2001:db8::52:0:2]:443, [2001:db8::52:0:3]:80, 2002:db8:a::45/64";
const hosts: [host: string, isProxied: boolean][] = [
  ["localhost", false],
  ["127.0.0.1", false],
  ["127.0.0.2", false],
  ["[::1]", false],
  ["[::2]", true],
  ["192.168.1.1", false],
  ["192.168.1.2", true],
  ["192.168.1.3", false],
  ["192.168.1.4", true],
  ["10.0.0.2", false],
  ["[2001:db8::52:0:1]", false],
  ["[2001:db8::52:0:2]", true],
  ["[2001:db8::52:0:3]", false],
  ["[2002:db8:a::123]", false],
  ["[fe80::424b:c8be:1643:a1b6]", true],
  ["barbaz.net", true],
  ["www.barbaz.net", false],
  ["foobar.com", false],
  ["www.foobar.com", false],
  ["foofoobar.com", true],
  ["baz.com", true],
  ["localhost.net", true],
  ["local.localhost", true],
  ["barbarbaz.net", true],
  ["wildcard.io", true],
  ["nested.wildcard.io", false],
  ["awildcard.io", true],
];

const textOf = (name: string): string => readFileSync(`src/${name}`, "utf8");

describe("the proxy of a request", () => {
  for (const [host, isProxied] of hosts)
    it(`is ${isProxied ? "used" : "not used"} for ${host}, as in Go`, () => {
      const found = proxyOf(new URL(`http://${host}:80/`), { HTTP_PROXY: "http://proxy:3128", NO_PROXY });
      assert.equal(found?.origin, isProxied ? "http://proxy:3128" : undefined);
    });

  /** What Go's httpproxy.Config makes of a NO_PROXY and a URL, asked of it. */
  const more: [noProxy: string, url: string, isProxied: boolean][] = [
    ["::ffff:10.20.0.5", "https://10.20.0.5:8006", false],
    ["10.20.0.5:8006", "https://[::ffff:10.20.0.5]:8006", false],
    ["::ffff:10.20.0.0/119", "https://10.20.1.5", false],
    ["::/0", "https://10.20.0.5", true],
    ["fd00:0:0::5", "https://[fd00::5]", false],
    ["FD00::/8", "https://[fd00::5]", false],
    ["[fd00::5]", "https://[fd00::5]", true],
    ["[fd00::5]:", "https://[fd00::5]", false],
    ["example.org:", "https://pve.example.org:8006", false],
    ["example.org:8006", "https://pve.example.org", true],
    ["EXAMPLE.org", "https://PVE.example.ORG", false],
    ["example.org.", "https://pve.example.org", true],
    ["münchen.example.org", "https://münchen.example.org", false],
    ["example.org 10.20.0.5", "https://10.20.0.5", true],
    ["x,*", "https://a.example", false],
    ["10.20.0.0/23:8006", "https://10.20.0.5:8006", true],
  ];
  for (const [noProxy, url, isProxied] of more)
    it(`is ${isProxied ? "used" : "not used"} for ${url} with ${noProxy}, as in Go`, () => {
      const found = proxyOf(new URL(url), { HTTPS_PROXY: "proxy:3128", NO_PROXY: noProxy });
      assert.equal(found?.origin, isProxied ? "http://proxy:3128" : undefined);
    });

  for (const proxy of ["pro xy", "http://user:pass#word@proxy:1", "ftp://proxy"])
    it(`is refused as ${proxy}, without its password`, () => {
      const refused = (): unknown => proxyOf(new URL("https://a.example"), { HTTPS_PROXY: proxy });
      assert.throws(
        refused,
        (error: Error) => error.message.includes("HTTPS_PROXY is not the URL") && !error.message.includes("pass#"),
      );
    });

  const chosen: [string, string, Record<string, string>, string | undefined][] = [
    [
      "https has one of its own",
      "https://a.example",
      { HTTPS_PROXY: "http://s:1", HTTP_PROXY: "http://p:1" },
      "http://s:1",
    ],
    ["none is for https", "https://a.example", { HTTP_PROXY: "http://p:1" }, undefined],
    ["lower case counts", "https://a.example", { https_proxy: "http://s:1" }, "http://s:1"],
    ["an empty one is none", "https://a.example", { HTTPS_PROXY: "", https_proxy: "http://s:1" }, "http://s:1"],
    ["http is its scheme", "https://a.example", { HTTPS_PROXY: "s:3128" }, "http://s:3128"],
    ["everything is direct", "https://a.example", { HTTPS_PROXY: "http://s:1", NO_PROXY: "*" }, undefined],
    ["there is none", "https://a.example", {}, undefined],
  ];
  for (const [title, url, environment, proxy] of chosen)
    it(`is found where ${title}`, () => assert.equal(proxyOf(new URL(url), environment)?.origin, proxy));

  describe("that our clients use", () => {
    let target: http.Server;
    let proxy: HttpProxy;
    let restore: () => void;

    beforeEach(async () => {
      target = http.createServer((_, response) => response.end("from the host"));
      proxy = new HttpProxy(await listen(target));
      const url = await proxy.start();
      restore = setProxies({ HTTP_PROXY: url, HTTPS_PROXY: url, NO_PROXY: "" });
    });

    afterEach(() => {
      restore();
      target.closeAllConnections();
      target.close();
      proxy.stop();
    });

    const ask = async (): Promise<string> => {
      const dispatcher = connections({ connections: 2 });
      try {
        const { body } = await request("http://pve.example/api2/json", { dispatcher });
        return await body.text();
      } finally {
        await dispatcher.destroy();
      }
    };

    it("leads to the host", async () => {
      assert.equal(await ask(), "from the host");
      assert.deepEqual(proxy.tunnels, ["pve.example:80"]);
    });

    const lookIntoBucket = async () => {
      const policy = { endpoint: "http://s3.example", bucket: "b", region: "r", pathStyle: true, prefix: "" };
      const credentials = { accessKeyId: "a", secretAccessKey: "b", sessionToken: undefined };
      const s3 = { ...policy, encryption: "none", checkContent: false } as const;
      return await headSnapshot(s3, "one", credentials, new Deadline("the bucket", 20));
    };

    it("leads to the bucket", async () => {
      assert.equal((await lookIntoBucket()).kind, "found");
      assert.deepEqual(proxy.tunnels, ["s3.example:80"]);
    });

    it("is named when it refuses to lead to the bucket", async () => {
      proxy.refuses = true;
      await assert.rejects(lookIntoBucket(), /the HTTP proxy refuses to lead to the host \(407\)[^]*HEAD http:\/\/s3/);
    });

    it("is used by every client", () => {
      const files = readdirSync("src", { recursive: true, encoding: "utf8" }).filter((name) => name.endsWith(".ts"));
      const senders = files.filter((name) => /import \{.*\brequest\b.*\} from "undici"/.test(textOf(name)));
      assert.ok(senders.length > 4);
      for (const name of senders) assert.match(textOf(name), /connections\(/, name);
    });

    it("is passed by for a host that NO_PROXY names", async () => {
      process.env.NO_PROXY = ".example";
      await assert.rejects(ask());
      assert.deepEqual(proxy.tunnels, []);
    });

    it("is named when it is not there", async () => {
      process.env.HTTPS_PROXY = "http://127.0.0.1:9";
      const pve = new Proxmox({ endpoint: "https://pve.example:8006", token: "a@pve!b=c", retryMs: 1 });
      await assert.rejects(pve.get("/version"), /through the HTTP proxy 127.0.0.1:9[^]*the proxy of HTTPS_PROXY runs/);
      await pve.close();
    });

    it("is named when it is no URL", async () => {
      process.env.HTTPS_PROXY = "not a URL";
      const pve = new Proxmox({ endpoint: "https://pve.example:8006", token: "a@pve!b=c", retryMs: 1 });
      await assert.rejects(pve.get("/version"), /HTTPS_PROXY is not the URL of a proxy/);
      await pve.close();
    });

    it("is named when it refuses, which another try does not change", async () => {
      proxy.refuses = true;
      const pve = new Proxmox({ endpoint: "https://pve.example:8006", token: "a@pve!b=c", retryMs: 1 });
      await assert.rejects(pve.get("/version"), /the HTTP proxy refuses to lead to the host \(407\)[^]*HTTPS_PROXY/);
      assert.deepEqual(proxy.tunnels, ["pve.example:8006"]);
      await pve.close();
    });
  });
});
