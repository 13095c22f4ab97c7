import assert from "node:assert/strict";
import http from "node:http";
import net, { type AddressInfo } from "node:net";
import { request } from "undici";
import { Proxmox } from "../../src/clients/proxmox/client.ts";
import { connections } from "../../src/runtime/connections.ts";
import { proxyOf } from "../../src/runtime/proxy.ts";

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
    const tunnels: string[] = [];
    let refuses = false;
    let target: http.Server;
    let proxy: http.Server;
    const { HTTP_PROXY, HTTPS_PROXY, NO_PROXY: direct } = process.env;
    const before = { HTTP_PROXY, HTTPS_PROXY, NO_PROXY: direct };
    const listen = async (server: http.Server): Promise<number> => {
      await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
      return (server.address() as AddressInfo).port;
    };

    beforeEach(async () => {
      tunnels.length = 0;
      refuses = false;
      target = http.createServer((_, response) => response.end("from the host"));
      const port = await listen(target);
      proxy = http.createServer();
      proxy.on("connect", ({ url = "" }: http.IncomingMessage, client: net.Socket) => {
        tunnels.push(url);
        if (refuses) return void client.end("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n");
        const server = net.connect(port, "127.0.0.1", () => client.write("HTTP/1.1 200 OK\r\n\r\n"));
        server.pipe(client).pipe(server);
        server.on("error", () => client.destroy());
        client.on("error", () => server.destroy());
      });
      process.env.HTTP_PROXY = `http://127.0.0.1:${await listen(proxy)}`;
    });

    afterEach(() => {
      for (const [name, value] of Object.entries(before)) {
        if (value === undefined) Reflect.deleteProperty(process.env, name);
        else process.env[name] = value;
      }
      for (const server of [target, proxy]) {
        server.closeAllConnections();
        server.close();
      }
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
      assert.deepEqual(tunnels, ["pve.example:80"]);
    });

    it("is passed by for a host that NO_PROXY names", async () => {
      process.env.NO_PROXY = ".example";
      await assert.rejects(ask());
      assert.deepEqual(tunnels, []);
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
      refuses = true;
      process.env.HTTPS_PROXY = process.env.HTTP_PROXY;
      const pve = new Proxmox({ endpoint: "https://pve.example:8006", token: "a@pve!b=c", retryMs: 1 });
      await assert.rejects(pve.get("/version"), /the HTTP proxy refuses to lead to the host \(407\)[^]*HTTPS_PROXY/);
      assert.deepEqual(tunnels, ["pve.example:8006"]);
      await pve.close();
    });
  });
});
