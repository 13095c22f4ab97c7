import assert from "node:assert/strict";
import { guest } from "../../images/contract.ts";
import { notAsked } from "../../src/clients/proxmox/guest-registries.ts";
import type { Kubernetes } from "../../src/clients/kubernetes/client.ts";
import { labels } from "../../src/domain/model/formats.ts";
import { paths } from "../../src/clients/kubernetes/types.ts";
import type { Role } from "../../src/domain/model/types.ts";
import { attributeFailure } from "../../src/steps/node/attribution.ts";
import type { StepContext } from "../../src/steps/context.ts";
import { NeverRegistered, NodeUnhealthy } from "../../src/steps/node/verdict.ts";
import { freshCluster, type FakeCluster } from "../clients/kubernetes/fake.ts";
import { fakeProxmox, type Answer } from "../clients/proxmox/fake.ts";

const name = "demo-workers-0-0a1b2c3d";
const runs: Answer = { data: { status: "running", qmpstatus: "running" } };
const noSuchFile = "Agent error: failed to open file: No such file or directory";
const vms = [name, "a"].map((one, at) => ({
  ...{ type: "qemu", node: "pve1", status: "running", name: one, vmid: 1100 + at },
}));

describe("a node that is not healthy", () => {
  let cluster: FakeCluster;
  let client: Kubernetes;
  freshCluster((fresh, itsClient) => ([cluster, client] = [fresh, itsClient]));

  function nodes(ready: string, unready: string, role: Role = "agent"): void {
    const own = role === "server" ? { [labels.server]: "true" } : {};
    const put = (node: string, status: string) =>
      cluster.put(paths.nodes, {
        metadata: { name: node, labels: own },
        status: { conditions: [{ type: "Ready", status }] },
      });
    for (const one of ready.split(" ").filter(Boolean)) put(one, "True");
    for (const one of unready.split(" ").filter(Boolean)) put(one, "False");
  }

  /** A pod of this kind of controller waits on a node for its image. */
  function waits(on: string, kind: string): void {
    const ownerReferences = [{ kind, name: "cni", uid: "cni", controller: true }];
    const metadata = { name: "cni-1", namespace: "kube-system", ownerReferences };
    cluster.put("/api/v1/namespaces/kube-system/pods", {
      metadata,
      spec: { nodeName: on },
      status: { phase: "Pending", containerStatuses: [{ state: { waiting: { reason: "ImagePullBackOff" } } }] },
    });
  }

  /** A pod of a DaemonSet on a node, of a version. */
  function daemon(on: string, version: string, ready: string): void {
    const ownerReferences = [{ kind: "DaemonSet", name: "cni", uid: "cni", controller: true }];
    const labels = { "controller-revision-hash": version };
    const metadata = { name: `cni-${on}`, namespace: "kube-system", labels, ownerReferences };
    cluster.put("/api/v1/namespaces/kube-system/pods", {
      metadata,
      spec: { nodeName: on },
      status: { phase: "Running", conditions: [{ type: "Ready", status: ready }] },
    });
  }

  /** What is said in the place of the accusation; undefined: the accusation itself. */
  async function excuse({ power = runs, silence = 0, guests, isNew }: Partial<Case>): Promise<string | undefined> {
    await using pve = await fakeProxmox(({ path, parameters: { file = "" } }) => {
      const vm = /\/(\d+)\/agent\/file-read$/.exec(path)?.[1];
      if (vm === undefined) return path === "/cluster/resources" ? { data: vms } : power;
      const content = guests?.[vm];
      return typeof content === "object" && file in content
        ? { data: { content: content[file] } }
        : { status: 500, reason: content === "silent" ? `VM ${vm} is not running` : noSuchFile };
    });
    // Nothing else of a run is asked for.
    const context = { pve: pve.client } as StepContext;
    const error = new (isNew ? NeverRegistered : NodeUnhealthy)({ what: "late", where: "here", todo: "bake it again" });
    const vm = { host: "pve1", vmid: 1100 };
    const place = { pool: "workers", slot: 0, generation: "0a1b2c3d" };
    const accused = { name, ...place, vm, client, silenceBefore: client.silence - silence };
    const said = await attributeFailure(context, accused, error);
    if (said === error) return undefined;
    assert.ok(said instanceof Error && !(said instanceof NodeUnhealthy));
    return said.message;
  }

  interface Case {
    when: string;
    /** Files of the guest by path, or whether it is silent, by VMID. 1100 is its own, 1101 that of Node a. */
    guests?: Record<string, Record<string, string> | "silent">;
    /** Whether it was seen as a Node. @default yes */
    isNew?: true;
    power?: Answer;
    silence?: number;
    arrange?: () => void;
    says?: RegExp;
  }

  const cases: Case[] = [
    { when: "nothing else is wrong", arrange: () => nodes("a b c", name) },
    { when: "it is the only node that is not healthy", arrange: () => nodes("", name) },
    { when: "the API was away for a moment", silence: 4 },
    { when: "the API was away for long", silence: 9, says: /the cluster's API gave no answer for 9 s/ },
    { when: "its VM is off", power: { data: { status: "stopped" } }, says: /VM 1100 on pve1 does not run/ },
    {
      when: "its VM is paused",
      power: { data: { status: "running", qmpstatus: "paused" } },
      says: /VM 1100 on pve1 stands still \(paused\)/,
    },
    {
      when: "its host does not say whether its VM runs",
      power: { status: 595, reason: "no route to host" },
      says: /nobody can say whether VM 1100 on pve1 runs/,
    },
    {
      when: "half of the others are not Ready",
      arrange: () => nodes("a", `b ${name}`),
      says: /not Ready either: b/,
    },
    { when: "fewer than half of the others are not Ready", arrange: () => nodes("a b", `c ${name}`) },
    {
      when: "one of two others is not Ready, the node that it replaces",
      arrange: () => {
        nodes("a", name);
        const own = { [labels.pool]: "workers", [labels.slot]: "0" };
        const status = { conditions: [{ type: "Ready", status: "Unknown" }] };
        cluster.put(paths.nodes, { metadata: { name: "demo-workers-0-ffffffff", labels: own }, status });
      },
    },
    {
      when: "one server of three is not Ready",
      arrange: () => nodes("a b", `c ${name}`, "server"),
    },
    {
      when: "the other nodes cannot be seen",
      arrange: () => {
        cluster.hook = ({ path }) => (path === paths.nodes ? { status: 403, reason: "Forbidden" } : undefined);
      },
      says: /the other nodes cannot be seen/,
    },
    {
      when: "the image of a daemon of its cannot be fetched",
      arrange: () => waits(name, "DaemonSet"),
      says: /its daemons cannot be fetched: kube-system\/cni-1: ImagePullBackOff/,
    },
    {
      when: "a daemon of its is not Ready, of a version that is Ready on no other node, where the old one is",
      arrange: () => {
        daemon(name, "new", "False");
        daemon("a", "old", "True");
        daemon("b", "new", "False");
      },
      says: /cni-demo-workers-0-\w+: of a new version of the DaemonSet, which is Ready on no other node/,
    },
    {
      when: "a daemon of its is not Ready, of a version that is Ready on another node",
      arrange: () => {
        daemon(name, "new", "False");
        daemon("a", "old", "True");
        daemon("b", "new", "True");
      },
    },
    {
      when: "a daemon of its is not Ready, and all others are of its version",
      arrange: () => {
        daemon(name, "new", "False");
        daemon("a", "new", "False");
      },
    },
    ...[false, true].map((isGiven) => ({
      when: `its pods have ${isGiven ? "" : "no "}addresses, and those of the others have some`,
      arrange: () => {
        const put = (node: string, status: string, podCIDR: object) =>
          cluster.put(paths.nodes, {
            metadata: { name: node },
            spec: podCIDR,
            status: { conditions: [{ type: "Ready", status }] },
          });
        put("a", "True", { podCIDR: "10.42.0.0/24" });
        put(name, "False", isGiven ? { podCIDR: "10.42.1.0/24" } : {});
      },
      ...(isGiven ? {} : { says: /has given it no podCIDR, as it has all others/ }),
    })),
    { when: "the image of a workload on it cannot be fetched", arrange: () => waits(name, "ReplicaSet") },
    { when: "the image of a daemon on another node cannot be fetched", arrange: () => waits("a", "DaemonSet") },
    {
      when: "its daemons cannot be seen",
      arrange: () => {
        cluster.hook = ({ path }) => (path === paths.pods ? { status: 403, reason: "Forbidden" } : undefined);
      },
      says: /its daemons cannot be seen/,
    },
  ];
  const loaded = (text: string, reload = "") => ({ [guest.registriesLoaded]: text, [guest.registriesReload]: reload });
  const registries: Case[] = [
    { when: "its RKE2 has started with its registries", guests: { 1100: loaded("abc", "abc") } },
    {
      when: "its RKE2 was told to restart for other registries",
      guests: { 1100: loaded("", "abc") },
      says: /has not started with the registries that it was given: correct evergreen:registries/,
    },
    {
      when: "it was given other registries, and was not told to restart",
      guests: { 1100: loaded(notAsked, "abc") },
      says: /has not started with the registries/,
    },
    { when: "its guest does not answer", guests: { 1100: "silent" } },
    { when: "it has never registered, with no registries", isNew: true, guests: { 1100: loaded("") } },
    {
      when: "it has never registered, the first one with its registries",
      isNew: true,
      guests: { 1100: loaded("abc"), 1101: loaded("def") },
      says: /no node has started with its registries yet/,
    },
    {
      when: "it has never registered, and the guest of the other one is silent",
      isNew: true,
      guests: { 1100: loaded("abc"), 1101: "silent" },
      says: /no node has started with its registries yet/,
    },
    {
      when: "it has never registered, and another one has started with its registries",
      isNew: true,
      guests: { 1100: loaded("abc"), 1101: loaded("abc") },
    },
    {
      when: "it has never registered, and the other one with its registries is not Ready",
      isNew: true,
      arrange: () => nodes("b c", "a"),
      guests: { 1100: loaded("abc"), 1101: loaded("abc") },
      says: /no node has started with its registries yet/,
    },
  ];
  for (const { arrange = () => nodes("a b c", ""), ...one } of registries) cases.push({ arrange, ...one });

  for (const { arrange, says, when, ...one } of cases)
    it(`is ${says ? "excused" : "accused"} when ${when}`, async () => {
      arrange?.();
      const said = await excuse(one);
      if (says) assert.match(said ?? "the accusation stands", says);
      else assert.equal(said, undefined);
    });
});
