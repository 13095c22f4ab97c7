import assert from "node:assert/strict";
import type { Kube, KubeObject } from "../../lab/kube.ts";
import { Site, untilSaid } from "../e2e/site.ts";

const newer = "ubuntu-24.04-rke2-v1.1.0";
const older = "ubuntu-24.04-rke2-v1.0.0";
const startup = "node.cilium.io/agent-not-ready";
const nodes = "/api/v1/nodes";

interface Node extends KubeObject {
  spec?: { taints?: { key: string }[] };
}

/** Symptoms that users of other tools reported; behind each title is where. */
describe("what users of other tools reported, end to end", function () {
  this.timeout(300_000);
  let site: Site;

  before(async () => {
    site = await Site.create("127.93");
    await site.configure({ "controlPlane.servers": 1, "pools.0.slots": 2, "pools.0.strategy.surge": 1 });
    await site.up();
    await site.load({ replicas: 4 });
  });

  after(async () => {
    await site.close();
  });

  const ask = <T extends object>(method: Parameters<Kube["call"]>[0], path: string, body?: object) =>
    site.withKube(async (kube) => (await kube.call<T>(method, path, body)).body);
  const states = async () => (await site.record("workers")).generations.map(({ state }) => state);
  const label = (name: string) => ask("PATCH", `${nodes}/${name}`, { metadata: { labels: { "by-hand": "1" } } });

  it("stops where pods select a label that somebody gave by hand, and goes on (kubernetes#18307, #29218)", async () => {
    const old = await site.vms("workers");
    for (const name of old) await label(name);
    await pin("batch", { "by-hand": "1" });
    await site.configure({ "pools.0.image": newer, "timeouts.gateSeconds": 20 });
    const said = await site.fails();
    // The first slot's find a place on the old node of the second.
    assert.match(said, /pods that were evicted for demo-workers-1-\w+ have found no place in 20 s: default\/batch-/);
    assert.ok((await states()).every((state) => state !== "failed"));
    assert.equal((await states()).filter((state) => state === "proved").length, 1, "the newer one is not proved");

    // The operator sees why, and gives the new nodes what the pods ask for: from now on by the configuration.
    for (const name of await site.vms("workers")) if (!old.includes(name)) await label(name);
    await site.configure({ "pools.0.labels": { "by-hand": "1" }, "timeouts.gateSeconds": 300 });
    await site.up();
    assert.deepEqual(await site.complaints(), []);
  });

  it("hands no slot over before a startup taint is gone (gardener MCM#778, cilium#29405)", async () => {
    const old = await site.vms("workers");
    await site.configure({ "pools.0.image": older, "pools.0.startupTaints": [`${startup}:NoSchedule`] });
    const { ended } = site.start(["up", "--yes", "--skip-preview", "--stack", "dev"]);
    const arrived = new Set<string>();
    // What a CNI's operator does once its agent works, a node after the other.
    await site.until("both nodes without their startup taint", async () => {
      const { items = [] } = await ask<{ items?: Node[] }>("GET", nodes);
      for (const { metadata, spec } of items) {
        const taints = spec?.taints ?? [];
        if (!taints.some(({ key }) => key === startup)) continue;
        assert.equal(items.filter(({ metadata: { name } }) => old.includes(name)).length, 2 - arrived.size);
        arrived.add(metadata.name);
        await ask("PATCH", `${nodes}/${metadata.name}`, {
          spec: { taints: taints.filter(({ key }) => key !== startup) },
        });
      }
      return arrived.size === 2;
    });
    const { code, output } = await ended;
    assert.equal(code, 0, output);
    assert.deepEqual(await site.complaints(), []);
  });

  it("asks again when a policy refuses an eviction for a while (AKS#4720, kops#5988)", async () => {
    await site.denyEvictions("load");
    await site.configure({ "pools.0.image": newer, "pools.0.startupTaints": undefined });
    const run = site.start(["up", "--yes", "--skip-preview", "--stack", "dev"]);
    await Promise.race([untilSaid(run, /stays for now/), run.ended]);
    await site.allowEvictions("load");
    const { code, output } = await run.ended;
    assert.equal(code, 0, output);
    assert.match(output, /stays for now, and is asked again until it goes: .*not tonight/);
    assert.ok((await states()).every((state) => state !== "failed"));
    assert.deepEqual(await site.complaints(), []);
  });

  /** Runs two replicas without a budget on nodes with these labels alone. */
  async function pin(name: string, nodeSelector: Record<string, string>): Promise<void> {
    const labels = { app: name };
    const containers = [{ name, image: name }];
    const template = { metadata: { labels }, spec: { nodeSelector, containers } };
    const spec = { replicas: 2, selector: { matchLabels: labels }, template };
    const path = "/apis/apps/v1/namespaces/default/deployments";
    await ask("POST", path, { apiVersion: "apps/v1", kind: "Deployment", metadata: { name }, spec });
    await site.until(`${name} to run`, async () => {
      const { status } = await ask<{ status?: { readyReplicas?: number } }>("GET", `${path}/${name}`);
      return status?.readyReplicas === 2;
    });
  }
});
