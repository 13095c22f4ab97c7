import { createHash } from "node:crypto";
import { guest } from "../../images/contract.ts";
import type { Vm } from "./data-centre.ts";
import { calm } from "./faults.ts";
import type { Stored } from "./objects.ts";
import { isPodReady, nodeOf } from "./pods.ts";
import { imageOf, registriesOf, type Blow, type Scenario } from "./scenario.ts";
import { withoutSigns } from "./site-off.ts";
import type { StoryKind } from "./simulate.ts";
import { teardownDefects } from "./teardown-defects.ts";
import type { World } from "./world.ts";
import type { Answer, Call } from "./wire.ts";

/** A defective driver, modelled by its requests, and the violation that the watcher has to report. */
export interface Defect {
  plant: (world: World) => void;
  seen: RegExp;
  /** The environment fault with which the defect matters. */
  weather?: string;
  /** The kind of story in which it matters. @default any */
  story?: StoryKind;
  /** The scenario in which the defect matters, when random scenarios would rarely contain it. */
  shape?: (scenario: Scenario) => Scenario;
}

export const defects: Record<string, Defect> = {
  ...teardownDefects,
  "a drain that deletes pods": {
    plant: replacing(isEviction, (call, honest) => ({
      ...honest({ ...call, method: "DELETE", path: call.path.replace(/\/eviction$/, ""), body: "" }),
      status: 201,
    })),
    seen: /instead of evicting it/,
  },
  "a drain that sees no pods": {
    plant: replacing(
      // A join lists the pods of its node, too.
      ({ path, query, process }) =>
        path === "/api/v1/pods" &&
        query.has("fieldSelector") &&
        !query.has("watch") &&
        !process.name.startsWith("join-"),
      (call, honest) => ({ status: 200, body: honest(call).body?.replace(/"items":.*$/s, '"items":[]}') ?? "" }),
    ),
    seen: /off with pods on it/,
  },
  "a step that believes to hold every lease": {
    plant: replacing(
      ({ path, method }) => /\/leases(\/|$)/.test(path) && (method === "POST" || method === "PUT"),
      () => ({ status: 201, body: JSON.stringify({ metadata: { resourceVersion: "1" } }) }),
    ),
    seen: /without the lease/,
  },
  "a run that gives nothing back": {
    plant: replacing(
      ({ path, method }) => path.includes("/leases/") && method === "DELETE",
      () => ({ status: 200, body: "{}" }),
    ),
    seen: /the lease .* is left|without a ticket|calm run/,
  },
  "a retirement that forgets the Node": {
    plant: replacing(
      ({ path, method }) => path.startsWith("/api/v1/nodes/") && method === "DELETE",
      () => ({ status: 200, body: "{}" }),
    ),
    seen: /which is a member of the cluster|Nodes of workers at the end/,
  },
  "a run that sees no volumes": {
    plant: replacing(
      ({ path }) => path === "/api/v1/persistentvolumes",
      (call, honest) => ({ status: 200, body: honest(call).body?.replace(/"items":.*$/s, '"items":[]}') ?? "" }),
    ),
    seen: /destroys .* with local-/,
    shape: withVolumes,
  },
  "a run that sees only volumes that are tied by the host name": {
    plant: replacing(
      ({ path }) => path === "/api/v1/persistentvolumes",
      (call, honest) => {
        const answer = honest(call);
        const list = JSON.parse(answer.body ?? "{}") as { items?: unknown[] };
        const items = list.items?.filter((one) => JSON.stringify(one).includes("kubernetes.io/hostname"));
        return { ...answer, body: JSON.stringify({ ...list, items }) };
      },
    ),
    seen: /destroys .* with local-/,
    shape: withVolumes,
  },
  "a run that sees no volumes of zones": {
    plant: replacing(
      ({ path }) => path === "/api/v1/persistentvolumes",
      (call, honest) => {
        const answer = honest(call);
        const list = JSON.parse(answer.body ?? "{}") as { items?: unknown[] };
        const items = list.items?.filter((one) => !JSON.stringify(one).includes("topology.kubernetes.io/zone"));
        return { ...answer, body: JSON.stringify({ ...list, items }) };
      },
    ),
    seen: /has lost its last node, and nobody was asked/,
    story: "update",
    shape: withZones,
  },
  "a run that sees no disk of somebody": {
    plant: (world) => {
      world.defect = (call) => {
        const answer = world.honest(call);
        if (!/\/qemu\/\d+\/config$/.test(call.path) || call.method !== "GET" || answer.body === undefined)
          return answer;
        return { ...answer, body: answer.body.replaceAll(/,"(scsi1|virtio4|unused0)":"[^"]*"/g, "") };
      };
    },
    seen: /destroys .* with (scsi1|virtio4|unused0)/,
    weather: "a disk by hand",
  },
  "a record that forgets what is kept": {
    plant: replacing(
      ({ path, body }) => path.includes("/configmaps/slot-") && body.includes("keeps"),
      (call, honest) => honest({ ...call, body: call.body.replaceAll("keeps", "lets") }),
    ),
    seen: /destroys .* with local-|calm run/,
    shape: withVolumes,
  },
  "a handover that does not ask whether its node serves": {
    plant: (world) => {
      world.defect = (call) => {
        if (!call.process.name.startsWith("handover-")) return world.honest(call);
        const vmid = Number(/\/qemu\/(\d+)\/status\/current$/.exec(call.path)?.[1]);
        const vm = world.dc.vms.get(vmid);
        // Only the arriving VM is reported as running; the departing VM is reported as it is.
        if (vm && isNewest(world, vm) && world.watcher.availability.lost.has(vm.name)) return running(vm);
        return isReadOfNodes(call) ? seenWell(world.honest(call)) : world.honest(call);
      };
    },
    seen: /nobody else serves in slot/,
    shape: (scenario) => {
      const strategy = { kind: "blueGreen", maxUnavailable: 1, soakSeconds: 0 };
      return { ...struck(scenario, { what: "power cut", whom: "workers", after: "join", at: 0 }), strategy };
    },
  },
  "a removal that does not ask how the other members are": {
    plant: (world) => believingMembersWell(world, /^handover-demo-servers/),
    seen: /takes .* out of etcd while/,
    shape: (scenario) => struck(scenario, { what: "power cut", whom: "servers", after: "join of another", at: 0 }),
  },
  "a join that does not ask how the other members are": {
    plant: (world) => believingMembersWell(world, /^join-demo-servers/),
    seen: /to join while/,
    shape: (scenario) => struck(scenario, { what: "power cut", whom: "servers", after: "start", at: 4000 }),
  },
  "a removal that does not ask whether the controllers work": {
    plant: (world) => {
      const isProbe = ({ path, method }: Call) => path.endsWith("/replicasets/controllers-probe") && method === "PATCH";
      world.defect = (call) => {
        // The probe changes nothing, so its change counts as observed, and the scheduler's lease is dated a hundred
        // years ahead.
        const answer = world.honest(isProbe(call) ? { ...call, body: "{}" } : call);
        if (!call.path.endsWith("/kube-system/leases") || answer.body === undefined) return answer;
        return { ...answer, body: answer.body.replaceAll('"renewTime":"20', '"renewTime":"21') };
      };
    },
    seen: /no controllers work since/,
  },
  "a step that takes what it has written for what RKE2 has read": {
    plant: (world) => {
      world.defect = (call) => {
        const written = new URLSearchParams(call.body);
        const vm = world.dc.vms.get(Number(/\/qemu\/(\d+)\/agent\//.exec(call.path)?.[1]));
        if (vm && call.path.endsWith("/file-write") && written.get("file") === guest.registriesReload)
          return { status: 200, body: JSON.stringify({ data: null }) };
        const isAsked = call.path.endsWith("/file-read") && call.query.get("file") === guest.registriesLoaded;
        const content = vm?.disk.get(guest.registries);
        if (!isAsked || content === undefined) return world.honest(call);
        const digest = createHash("sha256").update(content).digest("hex");
        return { status: 200, body: JSON.stringify({ data: { content: digest, "bytes-read": digest.length } }) };
      };
    },
    seen: /has other registries at the end/,
    shape: (scenario) => withNewRegistries(scenario),
  },
  "a step that restarts RKE2 of a server without asking how the others are": {
    plant: (world) => believingMembersWell(world, /^registries-demo-servers/),
    seen: /no quorum/,
    shape: (scenario) =>
      struck(withNewRegistries(scenario), { what: "partition", whom: "servers", after: "start", at: 500 }),
  },
  "a step that blames an image for what it has misread": {
    plant: (world) => {
      world.defect = (call) => {
        const answer = world.honest(call);
        const isImage = call.path.endsWith("/agent/file-read") && call.query.get("file") === guest.image;
        const isJoin = call.process.name.startsWith("join-");
        if (!isImage || !isJoin || answer.body === undefined) return answer;
        return { ...answer, body: answer.body.replaceAll("+rke2r1", "+rke2r9") };
      };
    },
    seen: /a good generation is judged failed/,
  },
  "a plan that sees only the end of a soak": {
    plant: (world) => {
      world.defect = (call) => {
        const answer = world.honest(call);
        const isSeen = call.process.name.startsWith("program") && isReadOfNodes(call);
        if (!isSeen || answer.body === undefined) return answer;
        return { ...answer, body: answer.body.replaceAll(/"lastTransitionTime":"20/g, '"lastTransitionTime":"19') };
      };
    },
    seen: /is proved, and .* was not Ready in its soak/,
    story: "update",
    shape: (scenario) => {
      const { acts, ...calmed } = struck(scenario, { what: "flap", whom: "workers", after: "join", at: 300_000 });
      const strategy = { kind: "rolling", surge: 1, maxUnavailable: 1, soakSeconds: 900 };
      return { ...calmed, strategy, acts: acts.map((act) => ({ ...act, pause: 400_000 })) };
    },
  },
  "a handover that does not ask whether what it evicted has found a place": {
    plant: (world) => {
      world.defect = (call) => {
        const answer = world.honest(call);
        const isList = call.path === "/api/v1/pods" && !call.query.has("fieldSelector") && !call.query.has("watch");
        if (!isList || !call.process.name.startsWith("handover-") || answer.body === undefined) return answer;
        const list = JSON.parse(answer.body) as { items: Stored[] };
        return { ...answer, body: JSON.stringify({ ...list, items: [] }) };
      };
    },
    seen: /what others evicted has found no place/,
    weather: "a label by hand",
    shape: (scenario) => ({
      ...scenario,
      strategy: { kind: "rolling", surge: 1, maxUnavailable: 1, soakSeconds: 0 },
      acts: scenario.acts.map((act) => ({ ...act, weather: calm, kill: undefined, blows: [] })),
    }),
  },
  "a handover that does not see that what it evicted cannot start": {
    plant: (world) => seeingPodsRun(world, () => true),
    seen: /is proved, and none of its nodes can start a pod|while no pod can start on/,
    weather: "a registry that is away",
    shape: (scenario) => ({
      ...scenario,
      strategy: { kind: "blueGreen", maxUnavailable: 1, soakSeconds: 0 },
      acts: scenario.acts.map((act) => ({ ...act, weather: calm, kill: undefined, blows: [] })),
    }),
  },
  "a handover that is content with one pod that has started on a node": {
    plant: (world) => seeingPodsRun(world, (pod) => world.cluster.pods.servingOn(nodeOf(pod)).some(isPodReady)),
    seen: /a run is done, and what it evicted does not run/,
    weather: "a driver of volumes that is away",
    story: "update",
    shape: withManyApps,
  },
  "a step that takes a pull for a volume that cannot be mounted": {
    plant: replacing(
      ({ path }) => path.endsWith("/events"),
      (call, honest) => {
        const { body = "", ...answer } = honest(call);
        return { ...answer, body: body.replaceAll('"Pulling"', '"FailedMount"').replaceAll('"Normal"', '"Warning"') };
      },
    ),
    seen: /a good generation is judged failed/,
    weather: "a registry that is slow",
  },
  "a retirement that forgets what it has evicted": {
    plant: forgettingEvicted,
    seen: /what others evicted has found no place/,
    weather: "a label by hand",
    story: "update",
    shape: (scenario) => withFewerSlots(scenario, 1),
  },
  "a last retirement that forgets what it has evicted": {
    plant: forgettingEvicted,
    seen: /a run is done, and what it evicted does not run/,
    weather: "a label by hand",
    story: "update",
    shape: (scenario) => withFewerSlots(scenario, 3),
  },
  "a join that names no server": {
    plant: (world) => {
      world.defect = (call) => world.honest(isOfLaterServer(call) ? withoutServer(world, call) : call);
    },
    seen: /second cluster beside/,
    story: "creation",
  },
  "a join that sees no sign of the first server": {
    plant: (world) => {
      const told = new Set<string>();
      world.defect = (call) => {
        const { process, path, query } = call;
        if (path === "/cacerts") return { status: 503, body: "" };
        if (path.endsWith("/agent/file-write")) told.add(process.id);
        const isBlind = process.name.startsWith("join-demo-servers-0-") && !told.has(process.id);
        if (!isBlind || query.get("file") !== guest.kubeconfig) return world.honest(call);
        return { status: 500, reason: "Agent error: No such file or directory", body: '{"data":null}' };
      };
    },
    seen: /to make a cluster, which it has made/,
    story: "creation",
  },
  "a driver that takes members that are off for no cluster": {
    plant: (world) => {
      world.defect = withoutSigns(world);
    },
    seen: /to make a second cluster beside/,
    story: "update",
    shape: (scenario) => {
      const { servers } = scenario.before;
      const wish = {
        ...scenario.before,
        ...(servers && { servers: { ...servers, image: imageOf(2, undefined).name, replaceOnlyServer: true } }),
      };
      const act = { wish, weather: calm, kill: undefined, blows: [], pause: 0 };
      return { ...scenario, planted: true, acts: [act], siteOff: 0 };
    },
  },
  "a step that changes the cluster without the lease of the update": {
    plant: (world) => {
      world.locked = false;
    },
    seen: /without the lease of the update/,
    story: "creation",
  },
  "a step that sees no learner": {
    plant: (world) => {
      world.defect = (call) => {
        const answer = world.honest(call);
        if (call.path !== "/db/info" || call.process.name.startsWith("join-") || answer.body === undefined)
          return answer;
        const { members } = JSON.parse(answer.body) as { members: { isLearner: boolean }[] };
        return { ...answer, body: JSON.stringify({ members: members.filter(({ isLearner }) => !isLearner) }) };
      };
    },
    seen: /turns .* off, which is a learner of etcd/,
    story: "update",
    shape: (scenario) => {
      const servers = { image: scenario.before.image, count: 3, cores: 4 };
      const before = { ...scenario.before, servers };
      const act = { wish: before, weather: calm, kill: undefined, blows: [], pause: 0 };
      const grown = { ...before, servers: { ...servers, cores: 8 } };
      const acts = [{ ...act, wish: grown, weather: { ...calm, learner: 1 } }, act];
      return { ...scenario, servers: 3, planted: true, before, acts, siteOff: 0 };
    },
  },
  "an engine that takes a join for done": {
    plant: (world) => {
      world.skips = (urn) => /^demo-servers-(2-[0-9a-f]{8}-join|2-handover|verify)$/.test(urn);
    },
    seen: /a run is done, and .* is no voter of etcd/,
    story: "creation",
  },
  "an engine that forgets the order of slots": {
    plant: (world) => {
      world.ordered = false;
    },
    seen: /VMs of pool .* run, and/,
  },
};

/** Handovers see pods run that wait for something, in lists and in watches. */
function seeingPodsRun(world: World, isSeen: (pod: Stored) => boolean): void {
  const edit = (text: string): string => text.split("\n").map(editLine).join("\n");
  const editLine = (line: string): string => {
    if (line === "") return line;
    const told = JSON.parse(line) as { items?: Stored[]; object?: Stored };
    for (const pod of told.items ?? (told.object === undefined ? [] : [told.object]))
      for (const container of (pod.status?.containerStatuses ?? []) as { state?: object }[])
        if (container.state !== undefined && isSeen(pod)) container.state = { running: {} };
    return JSON.stringify(told);
  };
  world.defect = (call) => {
    const answer = world.honest(call);
    if (call.path !== "/api/v1/pods" || !call.process.name.startsWith("handover-")) return answer;
    const { body, stream } = answer;
    return {
      ...answer,
      ...(body !== undefined && { body: edit(body) }),
      ...(stream && { stream: (out) => stream({ ...out, write: (text) => out.write(edit(text)) }) }),
    };
  };
}

/** Nothing that a step has evicted gets into the record. */
export function forgettingEvicted(world: World): void {
  replacing(
    ({ path, body }) => path.includes("/configmaps/slot-") && body.includes("displaced"),
    (call, honest) => honest({ ...call, body: call.body.replaceAll("displaced", "forgotten") }),
  )(world);
}

/** A pool of four nodes that is made smaller in calm weather. */
function withFewerSlots(scenario: Scenario, slots: number): Scenario {
  const before = { ...scenario.before, slots: 4, image: imageOf(2, undefined).name };
  const act = { wish: { ...before, slots }, weather: calm, kill: undefined, blows: [], pause: 0 };
  return { ...scenario, before, planted: true, acts: [act], siteOff: 0 };
}

/**
 * A pool in which all new nodes come first, so that each has started some pods when others are still evicted. The first
 * rollout spreads them over the nodes.
 */
function withManyApps(scenario: Scenario): Scenario {
  const before = { ...scenario.before, slots: 4, image: imageOf(2, undefined).name };
  const strategy = { kind: "blueGreen", maxUnavailable: 1, soakSeconds: 0 };
  const app = { replicas: 1, minAvailable: 0, slowestEnd: 1000, claims: false };
  const workloads = Array.from({ length: 12 }, (_, number) => ({ ...app, name: `web${number}` }));
  const calmed = { weather: calm, kill: undefined, blows: [], pause: 0 };
  const acts = [1, 2].map((rollout) => ({ ...calmed, wish: { ...before, rollout } }));
  return { ...scenario, before, strategy, planted: true, workloads, acts, siteOff: acts.length };
}

/** A scenario without faults, except for one host fault in each run. */
function struck(scenario: Scenario, blow: Blow): Scenario {
  const acts = scenario.acts.map((act) => ({ ...act, weather: calm, kill: undefined, blows: [blow] }));
  return { ...scenario, acts };
}

function isReadOfNodes({ api, method, path, query }: Call): boolean {
  return api === "kube" && method === "GET" && path.startsWith("/api/v1/nodes") && !query.has("watch");
}

/** Reports every Node as Ready. */
function seenWell(answer: Answer): Answer {
  const well = answer.body?.replaceAll(/("type":"Ready","status":)"(False|Unknown)"/g, '$1"True"');
  return { ...answer, ...(well === undefined ? {} : { body: well }) };
}

/** Whether it is the VM to which its slot is handed over. */
function isNewest({ dc }: World, { vmid, name }: Vm): boolean {
  const slot = name.slice(0, name.lastIndexOf("-"));
  return ![...dc.vms.values()].some((other) => other.name.startsWith(`${slot}-`) && other.vmid > vmid);
}

function running({ vmid, name }: Vm): Answer {
  return { status: 200, reason: "OK", body: JSON.stringify({ data: { vmid, name, status: "running" } }) };
}

/** Makes every member of etcd look like a voter that serves, for these processes. */
function believingMembersWell(world: World, who: RegExp): void {
  const isBlind = (call: Call) => who.test(call.process.name);
  world.believes = (call) => (isBlind(call) && call.path === "/readyz" ? { status: 200, body: "ok" } : undefined);
  world.defect = (call) => {
    const answer = world.honest(call);
    if (!isBlind(call)) return answer;
    if (call.path === "/db/info" && answer.body !== undefined)
      return { ...answer, body: answer.body.replaceAll('"isLearner":true', '"isLearner":false') };
    return isReadOfNodes(call) ? seenWell(answer) : answer;
  };
}

/** Whether it writes a file of a server that does not make the cluster. */
function isOfLaterServer({ path, process }: Call): boolean {
  return /^join-demo-servers-[12]-/.test(process.name) && path.endsWith("/agent/file-write");
}

/** The same write of join data that names no server, or of the marker that belongs to them. */
function withoutServer({ dc }: World, call: Call): Call {
  const form = new URLSearchParams(call.body);
  const file = form.get("file");
  const content = Buffer.from(form.get("content") ?? "", "base64").toString();
  const vm = dc.vms.get(Number(/\/qemu\/(\d+)\//.exec(call.path)?.[1]));
  const data = vm?.disk.get(guest.join) ?? "";
  if (file === guest.join) form.set("content", base64(content.replace(/^(server|token): .*\n/gm, "")));
  if (file === guest.marker && content !== "")
    form.set("content", base64(`server ${createHash("sha256").update(data).digest("hex")}\n`));
  return { ...call, body: form.toString() };
}

function base64(text: string): string {
  return Buffer.from(text).toString("base64");
}

function isEviction({ path }: Call): boolean {
  return path.endsWith("/eviction");
}

function replacing(concerns: (call: Call) => boolean, answer: (call: Call, honest: World["honest"]) => Answer) {
  return (world: World): void => {
    world.defect = (call) => (call.api === "kube" && concerns(call) ? answer(call, world.honest) : world.honest(call));
  };
}

/** Every act has registries with another password. */
function withNewRegistries(scenario: Scenario): Scenario {
  const acts = scenario.acts.map((act, at) => ({ ...act, wish: { ...act.wish, registries: registriesOf(at) } }));
  return { ...scenario, acts };
}

/**
 * A pool of two nodes in two zones, of which the second one goes. No pod uses the volumes: where one does, the run waits
 * for it, and is not done.
 */
function withZones(scenario: Scenario): Scenario {
  const { before } = scenario;
  const image = before.image;
  const start = { ...before, slots: 2, servers: { image, count: 1, cores: 4 } };
  const act = { wish: { ...start, slots: 1 }, weather: calm, kill: undefined, blows: [], pause: 0 };
  const zonalVolumes = { mayLeave: false, planted: 2, idle: 2 };
  return { ...scenario, servers: 1, planted: true, before: start, acts: [act], zonalVolumes };
}

function withVolumes(scenario: Scenario): Scenario {
  return { ...scenario, localVolumes: { keepDays: 7, planted: 2, later: [] } };
}
