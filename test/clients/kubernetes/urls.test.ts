import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import https from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Agent } from "undici";
import { Authority } from "../../../lab/pki.ts";
import { Kubernetes } from "../../../src/clients/kubernetes/client.ts";
import { apiAt, supervisorAt } from "../../../src/clients/kubernetes/urls.ts";
import { useConnections } from "../../../src/runtime/connections.ts";

describe("the URL of a server", () => {
  it("has an IPv6 address in brackets", () => {
    assert.equal(supervisorAt("fd00::5"), "https://[fd00::5]:9345");
    assert.equal(supervisorAt("10.0.0.5"), "https://10.0.0.5:9345");
    assert.equal(apiAt("k8s.example"), "https://k8s.example:6443");
  });

  for (const [certified, isTrusted] of [
    ["fd00::5", true],
    ["fd00::6", false],
  ] as const)
    it(`with an IPv6 address leads to a server whose certificate names ${certified}: ${isTrusted ? "trusted" : "refused"}`, async () => {
      const directory = await mkdtemp(join(tmpdir(), "evergreen-urls-"));
      const socketPath = join(directory, "api");
      const ca = new Authority("ca");
      const server = https.createServer(ca.issue({ commonName: "api", names: [certified] }), (_, answer) => {
        answer.end("ok");
      });
      server.listen(socketPath);
      await once(server, "listening");
      // The address belongs to no machine: the connection is made to the socket, and all of TLS is as it would be.
      useConnections((options) => {
        const { connect } = options;
        return new Agent({ ...options, ...(typeof connect === "object" && { connect: { ...connect, socketPath } }) });
      });
      const client = new Kubernetes({ server: apiAt("fd00::5"), ca: ca.cert, ...ca.issue({ commonName: "us" }) }, 1);
      try {
        assert.equal(await client.isReady(AbortSignal.timeout(2_000)), isTrusted);
      } finally {
        useConnections();
        await client.close();
        server.closeAllConnections();
        server.close();
        await rm(directory, { recursive: true });
      }
    });
});
