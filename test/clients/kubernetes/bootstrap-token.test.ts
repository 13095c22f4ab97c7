import assert from "node:assert/strict";
import type { Kubernetes } from "../../../src/clients/kubernetes/client.ts";
import { mintToken } from "../../../src/clients/kubernetes/bootstrap-token.ts";
import { paths } from "../../../src/clients/kubernetes/types.ts";
import { redact } from "../../../src/runtime/log.ts";
import { freshCluster, type FakeCluster } from "./fake.ts";

describe("the token of a join", () => {
  let cluster: FakeCluster;
  let client: Kubernetes;
  freshCluster((fresh, itsClient) => ([cluster, client] = [fresh, itsClient]));

  it("is for one node, ends by itself, and is printed nowhere: the log of a guest may have it", async () => {
    const { id, token } = await mintToken(client, "ca", "demo-workers-0-0a1b2c3d", 600);
    const secret = cluster.objects.get(`${paths.systemSecrets}/bootstrap-token-${id}`);
    const { description, expiration, ...data } = (secret as { stringData?: Record<string, string> }).stringData ?? {};
    assert.equal(description, "join of demo-workers-0-0a1b2c3d");
    const seconds = (Date.parse(expiration ?? "") - client.now().getTime()) / 1000;
    assert.ok(seconds > 590 && seconds <= 600, `${seconds} s`);
    assert.ok(token.endsWith(`::${id}.${data["token-secret"] ?? ""}`));
    assert.match(redact(token), new RegExp(`::${id}\\.\\*{6}$`));
  });
});
