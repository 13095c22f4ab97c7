import assert from "node:assert/strict";
import type { Vm } from "./data-centre.ts";
import { status } from "./fault-kinds.ts";
import type { Image } from "./guest.ts";
import type { Workload } from "./pods.ts";
import { Stage, stageImages } from "./stage.ts";
import type { Answer, Call } from "./wire.ts";

/** A failed update, to test whether it says anything about the generation that was being rolled out. */
interface Case {
  when: string;
  /** Defect of the second image, to which the agents are rolled. */
  image?: Image["fault"];
  workload?: Partial<Workload>;
  soakSeconds?: number;
  /** What happens while the update runs. */
  happens?: (stage: Stage) => Promise<void> | void;
  says: RegExp;
}

/** Causes in the arriving node. */
const guilty: Case[] = [
  { when: "its nodes never get Ready", image: "never-ready", says: /to be Ready/ },
  { when: "its guests never answer", image: "no-agent", says: /the guest agent of/ },
  {
    when: "its nodes never register, and a server answers where they do",
    happens: ({ world }) => void (world.cluster.nodes.register = () => false),
    says: /it never registered/,
  },
  {
    when: "its node says itself that it is not Ready, right before its predecessor would leave",
    happens: async (stage) => {
      const { name } = await arriving(stage, "joined");
      setReady(stage, name, "False");
    },
    says: /does not serve, so nobody leaves its slot: Ready is False/,
  },
  {
    when: "its node has no memory left right before its predecessor would leave, without any pod of others",
    happens: async (stage) => {
      const { name } = await arriving(stage, "joined");
      addCondition(stage, name, { type: "MemoryPressure", status: "True" });
    },
    says: /does not serve, so nobody leaves its slot: MemoryPressure is True/,
  },
  {
    when: "its node was not Ready for a moment in its soak",
    soakSeconds: 60,
    happens: async (stage) => {
      const { name } = await arriving(stage, "soaking");
      setReady(stage, name, "False");
    },
    says: /did not hold/,
  },
  {
    when: "a daemon of its node restarts in its soak, and on no other node",
    soakSeconds: 60,
    happens: async (stage) => {
      const { name } = await arriving(stage, "soaking");
      await stage.world.time.sleep(5_000);
      restart(stage, [name]);
    },
    says: /did not hold: restarted during the soak: kube-system\/kube-proxy-/,
  },
  {
    when: "nothing is heard of its node in its soak, and another one on its host is heard",
    soakSeconds: 60,
    happens: async (stage) => {
      const { name } = await arriving(stage, "soaking");
      await stage.world.time.sleep(5_000);
      setReady(stage, name, "Unknown");
    },
    says: /did not hold: demo-workers-\d-\w+ is not Ready: Ready is Unknown/,
  },
  {
    when: "its node restarts in its soak, and is Ready all the while",
    soakSeconds: 60,
    happens: async (stage) => {
      const { name } = await arriving(stage, "soaking");
      await stage.world.time.sleep(5_000);
      const { objects } = stage.world.cluster;
      const node = objects.get("nodes", name);
      const nodeInfo = { ...(node?.status?.nodeInfo as object), bootID: "another" };
      if (node) objects.put("nodes", { ...node, status: { ...node.status, nodeInfo } });
    },
    says: /did not hold: demo-workers-\d-\w+ restarted/,
  },
  {
    when: "its node is not Ready at the end of a soak in which nobody could watch it",
    soakSeconds: 60,
    happens: async (stage) => {
      const { name } = await soakingUnwatched(stage);
      setReady(stage, name, "False");
    },
    says: /did not hold: demo-workers-\d-\w+ is not Ready/,
  },
];

/** Causes outside the arriving node. */
const innocent: Case[] = [
  {
    when: "a budget never lets a pod of the old node go",
    workload: { replicas: 2, minAvailable: 2 },
    says: /PodDisruptionBudget load\/app never lets a pod go: 2 of 2 pods healthy, 2 needed, 0 may go/,
  },
  {
    when: "a budget lets no pod of the old node go in time",
    workload: {},
    happens: ({ world }) =>
      refuseEvictions({ world }, status(429, "TooManyRequests", "needs 1 healthy pod", "DisruptionBudget")),
    says: /could not be emptied in 180 s \| {3}where: .*is held by load\/app/,
  },
  {
    when: "a policy never lets a pod of the old node go",
    workload: {},
    happens: (stage) => refuseEvictions(stage, status(403, "Forbidden", "admission webhook denied the request")),
    says: /could not be emptied.*load\/app-\d+ was refused since/,
  },
  {
    when: "the API has failed every eviction",
    workload: {},
    happens: (stage) => refuseEvictions(stage, status(500, "InternalError", "etcdserver: request timed out")),
    says: /could not be emptied.*load\/app-\d+ could not be asked since/,
  },
  {
    when: "a volume of the old node does not detach",
    happens: ({ world }) => {
      world.cluster.objects.put("volumeattachments", {
        metadata: { name: "csi-stuck" },
        spec: { attacher: "csi.example", nodeName: oldNode({ world }), source: { persistentVolumeName: "pv-stuck" } },
      });
    },
    says: /gave up after 60 s waiting for the volumes of/,
  },
  {
    when: "another process holds the slot",
    happens: ({ world }) => holdLease(world, "slot-workers-0"),
    says: /gave up after 900 s waiting for the lease slot-workers-0/,
  },
  {
    when: "the control plane is not healthy",
    happens: async (stage) => {
      await arriving(stage, "cloned");
      const { name } = stage.world.dc.vms.get(1001) ?? { name: "" };
      stage.world.watcher.struck(name);
      stage.world.dc.powerCut(vmNamed(stage, name));
    },
    says: /the control plane is not healthy/,
  },
  {
    when: "the control plane is not healthy any more when its predecessor would leave",
    happens: async (stage) => {
      await arriving(stage, "joined");
      const { name } = stage.world.dc.vms.get(1001) ?? { name: "" };
      stage.world.watcher.struck(name);
      stage.world.dc.powerCut(vmNamed(stage, name));
    },
    says: /workers-0-handover: the control plane is not healthy/,
  },
  ...[9_000, 3_600_000].flatMap((ms) => {
    const frozen = `a backup has frozen the file systems ${ms > 60_000 ? "for good" : "for a while"}`;
    const says = ms > 60_000 ? /gave up after .* waiting for .* file systems are frozen/ : /^$/;
    return [
      { when: `${frozen} of its guest when it is asked what it holds`, vmid: 1102, command: "file-read", says },
      { when: `${frozen} of its guest when it is told to join`, vmid: 1102, command: "file-write", says },
      // The departing guest does not need its file systems any more.
      { when: `${frozen} of the guest that leaves when it is told so`, vmid: 1100, command: "file-write", says: /^$/ },
    ].map(({ vmid, command, ...one }) => ({ ...one, happens: (stage: Stage) => freeze(stage, vmid, ms, command) }));
  }),
  {
    when: "another machine registers under the name of its node",
    happens: async (stage) => {
      const { name } = await arriving(stage, "registered");
      const { dc, cluster } = stage.world;
      const node = cluster.objects.get("nodes", name);
      const nodeInfo = { ...(node?.status?.nodeInfo as object), systemUUID: dc.uuid() };
      if (node) cluster.objects.put("nodes", { ...node, status: { ...node.status, nodeInfo } });
    },
    says: /registered and is not what it has to be: its SMBIOS uuid is .*The image was not judged/,
  },
  {
    when: "its VM loses its power before it is Ready",
    image: "never-ready",
    happens: async (stage) => stage.world.dc.powerCut(await arriving(stage, "running")),
    says: /waiting for the guest agent.*VM 1102 on pve2 does not run/,
  },
  {
    when: "its VM loses its power in its soak",
    soakSeconds: 60,
    happens: async (stage) => stage.world.dc.powerCut(await arriving(stage, "soaking")),
    says: /the soak of generation \w+ was disturbed: .*VM 1102 on pve2 does not run/,
  },
  {
    when: "its VM loses its power in its soak, and is started again at once",
    soakSeconds: 60,
    happens: async (stage) => {
      const { world } = stage;
      const vm = await arriving(stage, "soaking");
      world.dc.powerCut(vm);
      world.time.after(5_000, () => world.dc.powerOn(vm));
    },
    says: /was disturbed: .* restarted.*VM 1102 on pve2 was started or migrated \d+ s ago/,
  },
  {
    when: "somebody deletes its Node in its soak",
    soakSeconds: 60,
    happens: async (stage) => {
      const { name } = await arriving(stage, "soaking");
      stage.world.cluster.objects.remove("nodes", name);
    },
    says: /was disturbed: .* has left the cluster/,
  },
  {
    when: "somebody deletes its Node in its soak, and it registers anew while nobody can watch",
    soakSeconds: 60,
    happens: async (stage) => {
      const { name } = await soakingUnwatched(stage);
      const { objects } = stage.world.cluster;
      const node = objects.get("nodes", name);
      objects.remove("nodes", name);
      const { labels } = node?.metadata ?? {};
      objects.put("nodes", { ...node, metadata: { name, ...(labels ? { labels } : {}) } });
      setReady(stage, name, "True");
    },
    says: /was disturbed: .* has left the cluster/,
  },
  {
    when: "the API was away for a part of its soak",
    soakSeconds: 60,
    happens: async (stage) => {
      const { cluster, time } = stage.world;
      const { name } = await arriving(stage, "soaking");
      await time.sleep(5_000);
      const back = cluster.control.goAway();
      await time.sleep(9_000);
      back();
      setReady(stage, name, "False");
    },
    says: /was disturbed: .* is not Ready.*the cluster's API gave no answer for \d+ s of that time/,
  },
  {
    when: "a daemon restarts in its soak on the other nodes as well",
    soakSeconds: 60,
    happens: async (stage) => {
      await arriving(stage, "soaking");
      await stage.world.time.sleep(5_000);
      restart(stage, stage.world.cluster.nodes.names());
    },
    says: /^$/,
  },
  {
    when: "a daemon restarts in its soak that is Ready on no node",
    soakSeconds: 60,
    happens: async (stage) => {
      await deployBroken(stage);
      const { name } = await arriving(stage, "soaking");
      await stage.world.time.sleep(5_000);
      restart(stage, [name], "broken");
    },
    says: /^$/,
  },
  {
    when: "a daemon restarts in its soak that is of a new version there, and of the old one on the other nodes",
    soakSeconds: 60,
    happens: async (stage) => {
      const { name } = await arriving(stage, "soaking");
      for (const node of stage.world.cluster.nodes.names())
        setVersion(stage, node, node.startsWith("demo-servers-") ? "old" : "new");
      await stage.world.time.sleep(5_000);
      restart(stage, [name]);
    },
    says: /was disturbed: restarted during the soak: kube-system\/kube-proxy-.*of a new version of the DaemonSet/,
  },
  {
    when: "its VM has lost its power when its predecessor would leave",
    happens: async (stage) => stage.world.dc.powerCut(await arriving(stage, "joined")),
    says: /does not serve, so nobody leaves its slot: .*its VM does not run/,
  },
  {
    when: "its VM stands still when its predecessor would leave, and its kubelet has said that it is not Ready",
    happens: async (stage) => {
      const vm = await arriving(stage, "joined");
      vm.word = "io-error";
      setReady(stage, vm.name, "False");
    },
    says: /does not serve, so nobody leaves its slot: Ready is False.*VM 1102 on pve2 stands still \(io-error\)/,
  },
  {
    when: "nobody hears its node when its predecessor would leave",
    happens: async (stage) => {
      const { name } = await arriving(stage, "joined");
      setReady(stage, name, "Unknown");
    },
    says: /does not serve, so nobody leaves its slot: Ready is Unknown/,
  },
  {
    when: "the API was away for a part of its time",
    image: "never-ready",
    happens: async (stage) => {
      await arriving(stage, "registered");
      const back = away(stage);
      await stage.world.time.sleep(9_000);
      back();
    },
    says: /to be Ready.*the cluster's API gave no answer for \d+ s of that time/,
  },
  {
    when: "most other nodes are not Ready either",
    image: "never-ready",
    happens: async (stage) => {
      const { name } = await arriving(stage, "registered");
      for (const node of stage.world.cluster.nodes.names()) if (node !== name) setReady(stage, node, "False");
    },
    says: /to be Ready.*not Ready either: demo-servers-/,
  },
  {
    when: "somebody deletes the token that it joins with, before it has",
    happens: async (stage) => {
      const { objects } = stage.world.cluster;
      const tokens = () =>
        objects.list("secrets").filter(({ metadata: { name } }) => name.startsWith("bootstrap-token-"));
      await stage.until(() => tokens().length > 0);
      for (const { metadata } of tokens()) objects.remove("secrets", `kube-system/${metadata.name}`);
    },
    says: /to be Ready .*; somebody has deleted its join token bootstrap-token-\w+/,
  },
  {
    when: "no server answers at the registration address, which only a node that registers needs",
    happens: ({ world }) => {
      world.cluster.nodes.register = () => false;
      world.believes = ({ api, path }) =>
        api === "supervisor" && path === "/cacerts" ? status(503, "ServiceUnavailable", "no backend") : undefined;
    },
    says: /it never registered.*no server answers at the registration address, https:\/\/10\.0\.0\.5:9345.*not judged/,
  },
  {
    when: "a daemon of its node is Ready on no other node",
    happens: (stage) => void deployBroken(stage),
    says: /^$/,
  },
  {
    when: "pods on its node have used up the memory when its predecessor would leave",
    workload: {},
    happens: async (stage) => {
      const { name } = await arriving(stage, "joined");
      stage.world.cluster.pods.bindLate("app", name);
      addCondition(stage, name, { type: "MemoryPressure", status: "True" });
    },
    says: /MemoryPressure is True.*; MemoryPressure beside the pods load\/app-\d+.*the image was not judged/,
  },
  {
    when: "nobody makes the pod of the network for its node, which is not Ready without",
    image: "never-ready",
    happens: async (stage) => {
      const { name } = await arriving(stage, "registered");
      await stage.world.time.sleep(500);
      stage.world.cluster.objects.remove("pods", `kube-system/rke2-canal-${name}`);
    },
    says: /to be Ready.*; no pod was made for it of DaemonSet kube-system\/rke2-canal.*the image was not judged/,
  },
  {
    when: "a daemon is updated in those days, to a version that works nowhere",
    happens: async (stage) => {
      const { name } = await arriving(stage, "registered");
      await stage.world.time.sleep(60_000);
      for (const node of stage.world.cluster.nodes.names()) setVersion(stage, node, node === name ? "new" : "old");
    },
    image: "never-ready",
    says: /to be Ready.*kube-system\/kube-proxy-[\w-]+: of a new version of the DaemonSet.*the image was not judged/,
  },
];

describe("a generation, by what its nodes do", function () {
  this.timeout(60_000);
  for (const one of guilty) it(`is judged when ${one.when}`, () => plays(one, true));
});

describe("a generation, by what others do", function () {
  this.timeout(60_000);
  for (const one of innocent) it(`is not judged when ${one.when}`, () => plays(one, false));
});

async function plays({ image, workload, soakSeconds = 0, happens, says }: Case, isGuilty: boolean): Promise<void> {
  const app: Workload = { name: "app", replicas: 2, minAvailable: 1, slowestEnd: 1000, claims: false, ...workload };
  const workloads = workload ? [app] : [];
  const stage = new Stage(stageImages(image), { servers: 3, agents: 2, workloads, soakSeconds });
  await stage.play(async () => {
    const fate = Promise.resolve(happens?.(stage));
    await stage.up({ ...stage.agentsOf(1), slots: 2 });
    assert.match(stage.engine.why, says);
    await fate;
  });
  assert.equal(isJudged(stage), isGuilty, stage.engine.why);
  // The images of the model are good, so the watcher reports the verdict; here the cause counts as the node's own.
  const others = stage.world.story.violations.filter(
    (one) => !(isGuilty && one.startsWith("a good generation is judged")),
  );
  assert.deepEqual(others, []);
}

type Phase = "cloned" | "running" | "registered" | "joined" | "soaking";

/** Waits until the first new node of the update has reached a phase. */
async function arriving(stage: Stage, phase: Phase): Promise<Vm> {
  const { dc, cluster } = stage.world;
  const find = () => [...dc.vms.values()].find(({ vmid }) => vmid === 1102);
  const record = () =>
    JSON.stringify(
      cluster.objects
        .list("configmaps")
        .flatMap(({ metadata, data }) => (metadata.name.includes("workers") ? [data] : [])),
    );
  const has = (vm: Vm): boolean => {
    if (phase === "cloned") return true;
    if (phase === "running") return vm.running;
    if (phase === "registered") return cluster.objects.get("nodes", vm.name) !== undefined;
    if (phase === "joined") return new RegExp(`${vm.name}[^}]*phase[^}]*joined`).test(record());
    return /state[^}]*soaking/.test(record());
  };
  const isThere = () => {
    const vm = find();
    return vm !== undefined && has(vm);
  };
  // React at the very change of the cluster: the next step is milliseconds away.
  if (phase === "cloned" || phase === "running") await stage.until(isThere);
  else await new Promise<void>((resolve) => cluster.objects.onChange(() => isThere() && resolve()));
  return vmNamed(stage, find()?.name ?? "");
}

function vmNamed({ world }: Pick<Stage, "world">, name: string): Vm {
  const vm = [...world.dc.vms.values()].find((one) => one.name === name);
  if (vm === undefined) throw new Error(`there is no VM ${name}`);
  return vm;
}

const oldNode = ({ world }: Pick<Stage, "world">): string =>
  [...world.dc.vms.values()].find(({ vmid }) => vmid === 1100)?.name ?? "";

function isJudged({ world }: Stage): boolean {
  const data = world.cluster.objects.get("configmaps", "evergreen-system/pool-workers")?.data as Record<string, string>;
  return Object.entries(data).some(([key, fact]) => key.startsWith("generation.") && fact.includes('"state":"failed"'));
}

function setReady({ world }: Stage, name: string, ready: string): void {
  const { objects } = world.cluster;
  const node = objects.get("nodes", name);
  const lastTransitionTime = new Date(world.time.date() + world.cluster.aheadMs).toISOString();
  if (node)
    objects.put("nodes", {
      ...node,
      status: { ...node.status, conditions: [{ type: "Ready", status: ready, reason: "Test", lastTransitionTime }] },
    });
}

function addCondition({ world }: Stage, name: string, condition: { type: string; status: string }): void {
  const { objects } = world.cluster;
  const node = objects.get("nodes", name);
  const conditions = [...((node?.status?.conditions ?? []) as object[]), condition];
  if (node) objects.put("nodes", { ...node, status: { ...node.status, conditions } });
}

/** The pod of a daemon on a node is of this version of its DaemonSet; the new one does not work. */
function setVersion({ world }: Stage, node: string, version: "old" | "new"): void {
  const { objects } = world.cluster;
  const pod = objects.get("pods", `kube-system/kube-proxy-${node}`);
  if (pod === undefined) return;
  const labels = { ...pod.metadata.labels, "controller-revision-hash": version };
  const status = version === "old" ? pod.status : { ...pod.status, conditions: [{ type: "Ready", status: "False" }] };
  objects.put("pods", { ...pod, metadata: { ...pod.metadata, labels }, status: status ?? {} });
}

/** A daemon of these nodes restarts once more. */
function restart({ world }: Stage, nodes: readonly string[], daemon = "kube-proxy"): void {
  const { objects } = world.cluster;
  for (const node of nodes) {
    const pod = objects.get("pods", `kube-system/${daemon}-${node}`);
    if (pod) objects.put("pods", { ...pod, status: { ...pod.status, containerStatuses: [{ restartCount: 1 }] } });
  }
}

/** A DaemonSet that is Ready on no node, with a pod on the node that arrives. */
async function deployBroken(stage: Stage): Promise<void> {
  const { objects } = stage.world.cluster;
  const [name, namespace] = ["broken", "kube-system"];
  objects.put("daemonsets", { metadata: { name, namespace }, status: { numberReady: 0, currentNumberScheduled: 3 } });
  const { name: nodeName } = await arriving(stage, "registered");
  const uid = objects.get("daemonsets", `${namespace}/${name}`)?.metadata.uid;
  const ownerReferences = [{ kind: "DaemonSet", name, uid, controller: true }];
  objects.put("pods", {
    metadata: { name: `${name}-${nodeName}`, namespace, ownerReferences },
    spec: { nodeName },
    status: {
      phase: "Running",
      conditions: [{ type: "Ready", status: "False" }],
      containerStatuses: [{ restartCount: 0 }],
    },
  });
}

function refuseEvictions({ world }: Pick<Stage, "world">, refusal: Answer): void {
  world.defect = (call: Call) => (call.path.endsWith("/eviction") ? refusal : world.honest(call));
}

/** The API does not answer. @returns a function that ends this */
function away({ world }: Stage): () => void {
  world.believes = (call) =>
    call.api === "kube" ? status(503, "ServiceUnavailable", "the server is currently unable") : undefined;
  return () => (world.believes = () => undefined);
}

/** Waits until the new node is in its soak, while every watch of the verify step is refused. */
async function soakingUnwatched(stage: Stage): Promise<{ name: string }> {
  stage.world.believes = ({ process, query }) =>
    process.name.startsWith("verify-demo-workers") && query.get("watch") === "true"
      ? status(429, "TooManyRequests", "the server has received too many requests")
      : undefined;
  const arrived = await arriving(stage, "soaking");
  await stage.world.time.sleep(5_000);
  return arrived;
}

/** Another process holds the lease and keeps renewing it. */
function holdLease({ cluster, time }: Stage["world"], name: string): void {
  const renew = () => {
    const renewTime = new Date(time.date() + cluster.aheadMs).toISOString().replace("Z", "000Z");
    cluster.objects.put("leases", {
      metadata: { name, namespace: "evergreen-system" },
      spec: { holderIdentity: "somebody", leaseDurationSeconds: 15, renewTime },
    });
    time.after(5000, renew);
  };
  renew();
}

/** A backup or a snapshot freezes the file systems of a guest when its agent gets this command. */
function freeze({ world }: Pick<Stage, "world">, vmid: number, ms: number, command: string): void {
  let isOver = false;
  world.defect = (call: Call) => {
    const guest = world.dc.vms.get(vmid)?.guest;
    if (!isOver && guest?.agentUp === true && call.path.endsWith(`/${vmid}/agent/${command}`)) {
      isOver = true;
      guest.frozen = true;
      world.time.after(ms, () => (guest.frozen = false));
    }
    return world.honest(call);
  };
}
