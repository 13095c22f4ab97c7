import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import { Deadline } from "../../common/deadline.ts";
import type { Kubernetes } from "../../kubernetes/client.ts";
import { awaitControllers } from "../../kubernetes/controllers.ts";
import { paths } from "../../kubernetes/types.ts";
import { freshCluster, type FakeCluster } from "./fake.ts";

const leases = "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases";
const name = "controllers-probe";

describe("the controllers of a cluster", () => {
  let cluster: FakeCluster;
  let client: Kubernetes;
  freshCluster((fresh, itsClient) => ([cluster, client] = [fresh, itsClient]));

  const renewed = (secondsFromNow: number) => {
    const renewTime = new Date(Date.now() + secondsFromNow * 1000).toISOString();
    cluster.put(leases, { metadata: { name: "kube-scheduler" }, spec: { renewTime } });
  };
  const noticed = (generation: number) =>
    cluster.put(paths.replicaSets, { metadata: { name, generation }, status: { observedGeneration: generation } });
  /** The manager and the scheduler as they are when the probe is changed for the third time. */
  const before = async () => {
    renewed(-5);
    cluster.put(paths.replicaSets, { metadata: { name, generation: 3 }, status: { observedGeneration: 2 } });
    // The clock of the API server is known after its first answer.
    await client.find(`${paths.replicaSets}/${name}`);
  };
  const asked = () => cluster.count("GET", /leases$/) > 1 && cluster.count("GET", /replicasets$/) > 1;
  const wait = (seconds = 5) => awaitControllers(client, new Deadline("the controllers", seconds));
  const untilAsked = () =>
    new Deadline("both to be asked", 5).poll(5, () => Promise.resolve(asked() ? true : undefined));

  it("are asked at once: a scheduler that renewed while the manager was waited for is not waited for again", async () => {
    await before();
    const proved = wait();
    await untilAsked();
    renewed(0);
    // The clock of an API server is known to the second. Nobody renews after this.
    await delay(1100);
    noticed(3);
    await proved;
  });

  it("do not work while a lease is valid and nobody renews it", async () => {
    await before();
    noticed(3);
    await assert.rejects(wait(1), /nobody renews the lease kube-system\/kube-scheduler/);
  });

  it("do not work while nobody notices a change", async () => {
    await before();
    const proved = assert.rejects(wait(1), /kube-controller-manager has not noticed a change/);
    renewed(1);
    await proved;
  });
});
