import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import type { Kubernetes } from "../../src/clients/kubernetes/client.ts";
import { holderOf } from "../../src/clients/kubernetes/run-lease.ts";
import { paths } from "../../src/clients/kubernetes/types.ts";
import { lockCluster } from "../../src/program/update-lock.ts";
import { Deadline } from "../../src/runtime/deadline.ts";
import { hasHeld } from "../../src/runtime/engine-notes.ts";
import { identify, type ProcessIdentity } from "../../src/runtime/process-identity.ts";
import { bundle } from "../../tools/bundle.mjs";
import { freshCluster, type FakeCluster } from "../clients/kubernetes/fake.ts";
import { picture, smallConfig } from "../support/picture.ts";

describe("the program's right to update a cluster", function () {
  this.timeout(60_000);
  let cluster: FakeCluster;
  let client: Kubernetes;
  let child: ChildProcess;
  let engine: ProcessIdentity;
  freshCluster((fresh, its) => ([cluster, client] = [fresh, its]));
  before(() => bundle());
  beforeEach(async () => {
    child = spawn("sleep", ["60"], { stdio: "ignore" });
    await once(child, "spawn");
    const found = identify(child.pid ?? 0);
    assert.ok(found);
    engine = found;
  });
  afterEach(() => child.kill("SIGKILL"));

  const holder = () =>
    (cluster.objects.get(`${paths.leases}/update`)?.spec as { holderIdentity?: string } | undefined)?.holderIdentity;
  const lock = (more: Record<string, unknown> = {}) =>
    lockCluster({ ...smallConfig(), ...more }, picture({ kubernetes: client }), engine);
  const until = (what: string, isSo: () => boolean) =>
    new Deadline(what, 30).poll(20, () => Promise.resolve(isSo() ? true : undefined));

  it("is its engine's, which its steps know by, is kept from then on, and ends with the engine", async () => {
    await lock();
    assert.equal(holder(), holderOf(engine));
    assert.ok(hasHeld(engine, "demo"), "a step whose engine lost the lease must not take it anew");
    await until("a renewal", () => cluster.count("PUT", /update$/) > 0);
    child.kill("SIGKILL");
    await until("the lease to be given back", () => holder() === undefined);
  });

  it("is not taken while other software upgrades the cluster, unless that is allowed", async () => {
    const agents = "/apis/apps/v1/namespaces/cattle-system/deployments";
    cluster.put(agents, { metadata: { name: "cattle-cluster-agent", namespace: "cattle-system" } });
    await assert.rejects(lock(), /Rancher manages this cluster/);
    assert.equal(holder(), undefined);
    await lock({ allowRancher: true });
    assert.equal(holder(), holderOf(engine));
    child.kill("SIGKILL");
    await until("the lease to be given back", () => holder() === undefined);
  });
});
