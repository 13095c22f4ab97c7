import assert from "node:assert/strict";
import { setTimeout as delay } from "node:timers/promises";
import { Deadline } from "../../../src/runtime/deadline.ts";
import { UserError } from "../../../src/runtime/errors.ts";
import type { Kubernetes } from "../../../src/clients/kubernetes/client.ts";
import { awaitControllers } from "../../../src/clients/kubernetes/controllers.ts";
import { paths } from "../../../src/clients/kubernetes/types.ts";
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

  describe("are watched by a ReplicaSet", () => {
    type Container = Record<string, Record<string, unknown>>;
    /** What Pod Security `restricted` and the policies that most sites have ask of every pod template. */
    const asks: [string, (pod: Record<string, unknown>, container: Container) => boolean][] = [
      ["runs as nobody", (pod) => (pod.securityContext as Record<string, unknown>).runAsNonRoot === true],
      ["has the seccomp profile of the runtime", (pod) => JSON.stringify(pod).includes('"RuntimeDefault"')],
      ["mounts no token", (pod) => pod.automountServiceAccountToken === false],
      ["may not become more", (_, { securityContext }) => securityContext?.allowPrivilegeEscalation === false],
      [
        "drops all capabilities",
        (_, { securityContext }) => JSON.stringify(securityContext?.capabilities) === '{"drop":["ALL"]}',
      ],
      ["writes nothing", (_, { securityContext }) => securityContext?.readOnlyRootFilesystem === true],
      ["has limits", (_, { resources }) => JSON.stringify(Object.keys(resources?.limits ?? {})) === '["cpu","memory"]'],
      [
        "has requests",
        (_, { resources }) => JSON.stringify(Object.keys(resources?.requests ?? {})) === '["cpu","memory"]',
      ],
      [
        "names an image with a registry and a tag",
        (_, { image }) => /^[a-z0-9.]+\/[a-z]+:[\d.]+$/.test(JSON.stringify(image).slice(1, -1)),
      ],
    ];
    const containersOf = (pod: Record<string, unknown>) => pod.containers as Container[];
    const sent = () =>
      cluster.calls.flatMap(({ method, body }) => {
        const spec = (body as { spec?: { template?: { spec: Record<string, unknown> } } } | undefined)?.spec;
        return ["POST", "PATCH"].includes(method) && spec?.template ? [spec.template.spec] : [];
      });

    it("that no common policy denies, also where an earlier release made another", async () => {
      await wait(0.2).catch(() => undefined);
      cluster.put(paths.replicaSets, {
        metadata: { name, generation: 3 },
        spec: { replicas: 0, template: { spec: { containers: [{ name: "none", image: "none" }] } } },
      });
      await wait(0.2).catch(() => undefined);
      assert.ok(sent().length >= 2, "it was made and changed");
      for (const pod of sent())
        for (const [what, isSo] of asks)
          assert.ok(
            containersOf(pod).every((container) => isSo(pod, container)),
            what,
          );
    });

    for (const status of [400, 403, 422]) {
      it(`and who denies it with ${status} is named, with the way out`, async () => {
        const message = 'admission webhook "validate.kyverno.svc" denied the request: require-ro-rootfs';
        cluster.hook = ({ method }) => (method === "PATCH" ? { status, reason: "Forbidden", message } : undefined);
        await assert.rejects(wait(1), (error: unknown) => {
          assert.ok(error instanceof UserError);
          assert.match(error.problem.what, /^an admission policy refuses the ReplicaSet .*require-ro-rootfs/);
          assert.match(error.problem.todo, /exempt the namespace evergreen-system/);
          return true;
        });
      });
    }
  });
});
