import assert from "node:assert/strict";
import { once } from "node:events";
import type http from "node:http";
import https from "node:https";
import type net from "node:net";
import type { AddressInfo } from "node:net";
import tls from "node:tls";
import { X509Certificate } from "node:crypto";
import { UserError } from "../../../src/runtime/errors.ts";
import { Balancer } from "../../../lab/guest/balancer.ts";
import { Authority } from "../../../lab/pki.ts";

describe("the registration address", () => {
  const address = "127.67.1.5";
  const authority = new Authority("test");
  let balancer: Balancer;
  let servers: https.Server[];

  /** A server that says its own address. */
  async function serve(host: string, handler?: http.RequestListener): Promise<https.Server> {
    const credentials = authority.issue({ commonName: host, names: [host, address] });
    const server = https.createServer(credentials, handler ?? ((_, response) => response.end(host)));
    server.listen(6443, host);
    await once(server, "listening");
    servers.push(server);
    return server;
  }

  function ask(agent: https.Agent | false = false): Promise<string> {
    return new Promise((resolve, reject) => {
      const options = { host: address, port: 6443, ca: authority.cert, agent, path: "/", timeout: 3000 };
      const request = https.get(options, (response) => {
        let text = "";
        response.on("data", (chunk: Buffer) => (text += chunk.toString()));
        response.on("end", () => resolve(text));
      });
      request.on("error", reject);
    });
  }

  beforeEach(async () => {
    servers = [];
    balancer = new Balancer(address);
    await balancer.listen();
  });

  afterEach(async () => {
    await balancer.close();
    for (const server of servers) {
      server.closeAllConnections();
      server.close();
    }
  });

  it("sends connections to all servers in turn", async () => {
    for (const host of ["127.67.1.11", "127.67.1.12"]) {
      await serve(host);
      balancer.add(host);
    }
    const answers = [await ask(), await ask(), await ask(), await ask()];
    assert.deepEqual(answers.toSorted(), ["127.67.1.11", "127.67.1.11", "127.67.1.12", "127.67.1.12"]);
  });

  it("goes on to the next server when one does not take a connection", async () => {
    await serve("127.67.1.12");
    for (const host of ["127.67.1.11", "127.67.1.12"]) balancer.add(host);
    assert.deepEqual([await ask(), await ask()], ["127.67.1.12", "127.67.1.12"]);
  });

  it("hangs up without a server, and says who is in its way when a port is taken", async () => {
    await assert.rejects(ask());
    const error = await new Balancer(address).listen().catch((error: unknown) => error);
    assert.ok(error instanceof UserError);
    assert.match(error.problem.where, /127\.67\.1\.5:6443/);
  });

  it("lets a request finish before a server goes, and sends nobody there any more", async () => {
    const slow = await serve("127.67.1.11", (_, response) => void setTimeout(() => response.end("slow"), 300));
    balancer.add("127.67.1.11");
    const agent = new https.Agent({ keepAlive: true });
    const arrived = once(slow, "request");
    const answer = ask(agent);
    await arrived;
    await serve("127.67.1.12");
    balancer.add("127.67.1.12");
    const drained = balancer.drain("127.67.1.11");
    assert.deepEqual(balancer.ready, ["127.67.1.12"]);
    assert.equal(await answer, "slow");
    await drained;
    assert.equal(await ask(agent), "127.67.1.12");
    agent.destroy();
  });

  it("leaves out a server that fails its checks three times, not before", async function () {
    this.timeout(180_000);
    let healthy = true;
    await serve("127.67.1.11", (_, response) => response.writeHead(healthy ? 200 : 500).end());
    await serve("127.67.1.12");
    for (const host of ["127.67.1.11", "127.67.1.12"]) balancer.add(host);
    healthy = false;
    const begin = performance.now();
    while (balancer.ready.length === 2) await new Promise((resolve) => setTimeout(resolve, 20));
    assert.ok(performance.now() - begin > 2000);
    assert.deepEqual(balancer.ready, ["127.67.1.12"]);
    healthy = true;
    while (balancer.ready.length === 1) await new Promise((resolve) => setTimeout(resolve, 20));
  });
});

describe("certificates of the lab", () => {
  it("hold names, addresses and usages, and are trusted through their authority only", async () => {
    const authority = new Authority("one");
    const { cert, key } = authority.issue({
      commonName: "api",
      names: ["localhost", "127.67.1.20"],
      usages: ["server"],
    });
    const read = new X509Certificate(cert);
    assert.equal(read.subjectAltName, "DNS:localhost, IP Address:127.67.1.20");
    assert.deepEqual(read.keyUsage, ["1.3.6.1.5.5.7.3.1"]);
    assert.ok(read.verify(new X509Certificate(authority.cert).publicKey));
    const server = tls.createServer({ cert, key }, (socket) => socket.end());
    server.listen(0, "127.67.1.20");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    const connect = (ca: string) =>
      new Promise<boolean>((resolve) => {
        const socket: net.Socket = tls.connect({ host: "127.67.1.20", port, ca }, () => resolve(true));
        socket.on("error", () => resolve(false));
        socket.resume();
      });
    assert.equal(await connect(authority.cert), true);
    assert.equal(await connect(new Authority("one").cert), false);
    server.close();
  });
});
