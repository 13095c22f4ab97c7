import {
  addCondition,
  away,
  deployBroken,
  freeze,
  holdDaemon,
  holdLease,
  refuseEvictions,
  setReady,
  setVersion,
} from "./causes.ts";
import { status } from "./fault-kinds.ts";
import type { Stage } from "./stage.ts";
import { arriving, plays, vmNamed, type Case } from "./verdict-case.ts";

/** Causes outside the arriving node, before its soak. */
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
    when: "a daemon of its node waits, and nobody says for what",
    happens: (stage) => holdDaemon(stage),
    says: /its daemons are still being made: kube-system\/rke2-canal-\S+: ContainerCreating, and no event says why/,
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

describe("a generation, by what others do", function () {
  this.timeout(60_000);
  for (const one of innocent) it(`is not judged when ${one.when}`, () => plays(one, false));
});

const oldNode = ({ world }: Pick<Stage, "world">): string =>
  [...world.dc.vms.values()].find(({ vmid }) => vmid === 1100)?.name ?? "";
