import { momentNow } from "../../runtime/clock.ts";
import { Deadline } from "../../runtime/deadline.ts";
import { UserError } from "../../runtime/errors.ts";
import { say } from "../../runtime/log.ts";
import type { Access } from "../../clients/kubernetes/access.ts";
import type { Kubernetes } from "../../clients/kubernetes/client.ts";
import { awaitControllers } from "../../clients/kubernetes/controllers.ts";
import { drain } from "../../clients/kubernetes/eviction.ts";
import { proveGone } from "../../clients/kubernetes/gone.ts";
import type { Fence } from "../../clients/kubernetes/lease.ts";
import { removeMember } from "../../clients/kubernetes/etcd.ts";
import { withdrawEviction } from "../../clients/kubernetes/longhorn.ts";
import { awaitGone, cordon, deleteNode, findNode, isReady, restore } from "../../clients/kubernetes/nodes.ts";
import { writeFacts } from "../../clients/kubernetes/record.ts";
import type { ServerNode } from "../../clients/kubernetes/servers.ts";
import type { Node } from "../../clients/kubernetes/types.ts";
import { awaitDetached } from "../../clients/kubernetes/volumes.ts";
import { requireUnprotected } from "../../clients/proxmox/destroy.ts";
import type { ExpectedVm } from "../../clients/proxmox/identity.ts";
import { unmark } from "../../clients/proxmox/marks.ts";
import { isRunning, type ListedVm } from "../../clients/proxmox/vms.ts";
import type { LonghornNode } from "../../domain/drain/longhorn.ts";
import { hasJoined } from "../../domain/rollout/slots.ts";
import type { NodeRecord, Role } from "../../domain/model/types.ts";
import { isFresh } from "../cluster/availability.ts";
import { awaitCalm, byMembers, requireControllers, requireMayLeave, type Sight } from "../cluster/control-plane.ts";
import { requireDataMayGo, sayData } from "./data.ts";
import type { ClusterInput } from "../input.ts";
import { fence, isKnownDead } from "./fencing.ts";
import { requireMayDrain } from "./forecast.ts";
import { requireChangeable, switchOff } from "./power-off.ts";
import { quietly, type Run } from "../run.ts";
import { forgetStorage, moveStorage, requireStorageMayGo } from "./storage.ts";
import { serveAgain, yieldAdopted, yieldServer } from "./yield.ts";
import { look, reachable } from "../cluster/scene.ts";

/** A node that leaves: any part of it may be gone already. */
export interface Leaver {
  name: string;
  role: Role;
  pool: string;
  /** Not made by us: its VM stays, off, and is handed back. */
  adopted: boolean;
  vm: ListedVm | undefined;
  /** Who its VM has to be. */
  expected: ExpectedVm;
  node: Node | undefined;
  record: NodeRecord | undefined;
  /** Undefined: Longhorn keeps nothing there, or it was not asked yet. */
  storage?: LonghornNode | undefined;
}

export interface RetireOptions {
  run: Run;
  access: Access;
  fence: Fence;
  input: ClusterInput;
  /** Asked after every wait, right before the node is disturbed, and once its storage has moved: the last chance to refuse. @default always */
  mayBegin?: () => Promise<void>;
  /** It was left by a run that did not finish, and is not replaced now. @default false */
  isHalfMade?: boolean;
  /**
   * What is proved once the Node of a server is gone. `members`: not the controllers, which pause for as long as the lease of
   * their lost leader lives, while another server can join; the next retirement asks them, or the end of the pool's run.
   * `node`: nothing more of one that had left etcd before, for somebody else is dead and goes next. @default "everything"
   */
  proof?: "everything" | "members" | "node";
}

/**
 * Takes a node out: cordon, move its storage, evict, volumes, wipe, power off, forget. Each part is skipped when it was
 * done before. One that is dead while its VM runs is turned off instead of being emptied. Which of it has to be done is decided
 * before waits that may be long, so one that is another by their end is looked at from the beginning. When the node cannot be
 * emptied it serves again as before, and its VM stays.
 * @param again until when it is looked at once more: it was another before
 */
export async function retireNode(found: Leaver, given: RetireOptions, again?: Deadline): Promise<void> {
  const since = momentNow();
  // The list may be seconds old, and this decides between a drain and none.
  const running = found.vm !== undefined && (await isRunning(given.run.pve, found.vm));
  const leaver =
    found.vm === undefined ? await proved(found, given) : running ? await lookedAgain(found, given) : found;
  // Also one without a Node: it may be a member of etcd already.
  const mayBeMember = leaver.role === "server" && (leaver.node !== undefined || running);
  const options = mayBeMember ? await throughOthers(leaver, given) : given;
  const { access, input, run } = options;
  const { node, name } = leaver;
  const sight = mayBeMember ? await byMembers(run, input, access) : undefined;
  // What may take long comes before the looks that decide.
  if (sight && node && running) await requireControllers(run, input, access.client);
  const dead = node !== undefined && running && (await isKnownDead(node, options));
  const seen = node && !isReady(node) ? await findNode(access.client, name) : node;
  const storage = node && (await requireStorageMayGo(name, running && !dead, options));
  const vm = node && running ? await changeable(leaver, options) : leaver.vm;
  // Out of etcd already: a run that was killed had got that far, and without its API server the node ends no pods.
  const servers = sight && (await sight(run.stop));
  const member = servers && (node ? isMemberOf(servers, name) : isVoterOf(servers, name));
  if (servers && member) await requireMayLeave(access.client, name, servers, given.isHalfMade === true);
  if (vm && (node || isMember(leaver.record))) await requireDataMayGo(leaver, options);
  const drains = node !== undefined && running && !dead && member !== false;
  if (drains) await requireMayDrain(access.client, new Set([name]), input.site.timeouts.drain);
  if (node && running) await sayData(leaver, options);
  // A lease that could not be renewed is asked for as long as that takes, and what was seen before is old then.
  await options.fence.check();
  await given.mayBegin?.();
  const before = standing(running, seen);
  const now = isFresh(since) ? before : await standingNow(leaver, options);
  if (before !== now) {
    const until = again ?? new Deadline(`${name} to stay as it is`, input.site.timeouts.gate, run.stop);
    if (until.passed) throw until.error(`it is ${now} by now, and was ${before}`);
    say(`${name} is ${now} by now, and was ${before}: it is looked at once more`);
    await retireNode({ ...found, node: await findNode(access.client, name) }, given, until);
    return;
  }
  if (vm && node && drains) await emptied({ ...leaver, vm, storage }, node, vm, options);
  if (vm && dead) await fence(vm, leaver, options);
  const after = node && sight && member ? await leaveEtcd(leaver, node, sight, options) : access;
  await options.fence.check();
  // Before its guest is told to forget the cluster: whether it was told may never be known, and its Node is Ready for a while.
  if (node) await retired(after.client, leaver);
  if (vm && !dead) await switchOff(vm, running, leaver.expected, options);
  await options.fence.check();
  await deleteNode(after.client, name, node?.metadata?.uid);
  if (node && sight) await gone(name, after, options, member === true);
  // Without a Node only once it is off: of one that was retired an old list is believed.
  if (!node) await retired(after.client, leaver);
  if (storage) await forgetStorage(after.client, storage, options);
  if (leaver.adopted && vm) await handBack(vm, leaver.expected, options);
  say(`${name} is retired${running ? " and off" : ""}`);
}

/** What Proxmox refuses is found out before the node is disturbed. @returns the VM where it is now */
async function changeable(
  { adopted, vm, expected }: Leaver,
  { input, run }: RetireOptions,
): Promise<ListedVm | undefined> {
  if (vm === undefined) return undefined;
  const config = await requireChangeable(run, vm, expected, input.site);
  // The VM of an adopted node stays.
  if (!adopted) requireUnprotected(config);
  return { ...vm, host: config.host };
}

const isMemberOf = (servers: readonly ServerNode[], name: string): boolean =>
  servers.some((server) => server.name === name && server.member !== "none");

/** RKE2 gives up a learner whose Node never came, and nobody but an operator a voter. */
const isVoterOf = (servers: readonly ServerNode[], name: string): boolean =>
  servers.some((server) => server.name === name && server.member === "voter");

const isMember = (record: NodeRecord | undefined): boolean => record !== undefined && hasJoined(record);

/** A machine that comes up registers its Node at any moment, and has pods right after; one that served may be down by now. */
async function lookedAgain(leaver: Leaver, { access }: RetireOptions): Promise<Leaver> {
  return { ...leaver, node: await findNode(access.client, leaver.name) };
}

/** How a node is, as far as that decides whether it is emptied, turned off or only forgotten. */
function standing(running: boolean, node: Node | undefined): string {
  return `${running ? "on" : "off"} and ${node ? (isReady(node) ? "Ready" : "not Ready") : "without a Node"}`;
}

async function standingNow({ name, vm }: Leaver, { access, run }: RetireOptions): Promise<string> {
  const [running, node] = await Promise.all([
    vm === undefined ? false : isRunning(run.pve, vm),
    findNode(access.client, name),
  ]);
  return standing(running, node);
}

/** One whose VM is not in the list may run out of the token's sight: then nothing of it is taken out. */
async function proved(leaver: Leaver, { access, run }: RetireOptions): Promise<Leaver> {
  const { name, expected, node } = leaver;
  if (expected.vmid === 0)
    throw new UserError({
      what: `Node ${name} has no VM that the token can see, and nobody remembers which it had`,
      where: `Node ${name}, SMBIOS uuid ${expected.uuid ?? "unknown"}`,
      todo: "find the machine by that uuid. If it is a VM out of the token's sight, put it back into the Proxmox pool of the nodes; if it is gone, delete the Node (kubectl delete node), then run again",
    });
  const left = await proveGone(run.pve, access.client, { name, vmid: expected.vmid }, { stop: run.stop });
  return { ...leaver, node: node && left };
}

/** The way into the cluster may lead through the server that leaves, which is off before its retirement is over. */
async function throughOthers({ vm }: Leaver, given: RetireOptions): Promise<RetireOptions> {
  const { input, run } = given;
  return { ...given, access: reachable(await look(run, input, vm?.vmid), input) };
}

/** The VM of an adopted node is in no state of the engine, so nobody destroys it: it keeps nothing of ours. */
async function handBack(vm: ListedVm, expected: ExpectedVm, { fence, run }: RetireOptions): Promise<void> {
  await fence.check();
  await unmark(run.pve, vm.host, expected);
  say(`VM ${expected.vmid} (${expected.name}) is out of the cluster and off; it stays, and is yours to delete`);
}

/**
 * Takes the member out of etcd, after its node was emptied: its API server ends with it, and a kubelet without one ends no
 * pods any more (CAPRKE2#431). It is remembered as retired before: from here on there is no way back for it.
 * @returns another way into the cluster: the connections of the old one may lead to the server that has just left
 */
async function leaveEtcd(leaver: Leaver, node: Node, sight: Sight, options: RetireOptions): Promise<Access> {
  const { access, fence, input, run } = options;
  const { name, vm } = leaver;
  // That may take long, so it comes before the look that decides, and once more after it.
  await fence.check();
  const servers = await sight(run.stop);
  // A step that failed or was killed may have asked for it: RKE2 takes its time.
  const isOut = !isMemberOf(servers, name);
  if (!isOut) await requireMayLeave(access.client, name, servers, options.isHalfMade === true);
  await fence.check();
  await retired(access.client, leaver);
  if (!isOut)
    await removeMember(
      access.client,
      node,
      new Deadline(`etcd's member of ${name} to be removed`, input.site.timeouts.gate, run.stop),
    );
  say(`${name} is no member of etcd any more`);
  return reachable(await look(run, input, vm?.vmid), input);
}

/** The Node and the member are gone, and the others are all there and well, as far as that is to be proved. */
async function gone(
  name: string,
  after: Access,
  { proof = "everything", input, run }: RetireOptions,
  wasMember: boolean,
): Promise<void> {
  const { gate } = input.site.timeouts;
  await awaitGone(after.client, name, new Deadline(`Node ${name} to be gone`, gate, run.stop));
  if (proof === "node" && !wasMember) return;
  const sight = await byMembers(run, input, after);
  const deadline = new Deadline(`the control plane to be well without ${name}`, gate, run.stop);
  // One that an earlier run told to join may come in now, by its own: a learner that has not started has no name yet.
  const others = (await awaitCalm(sight, deadline)).map((server) => server.name);
  say(`etcd's members are ${others.toSorted().join(", ")}`);
  if (proof === "everything") await awaitControllers(after.client, deadline);
}

async function emptied(leaver: Leaver, node: Node, vm: ListedVm, options: RetireOptions): Promise<void> {
  const { access, fence, input, run } = options;
  const { client } = access;
  const { timeouts } = input.site;
  const { name, storage } = leaver;
  try {
    await fence.check();
    await cordon(client, node, run.id);
    await requireDataMayGo(leaver, options);
    if (leaver.role === "server") await (leaver.adopted ? yieldAdopted(run, vm) : yieldServer(run, vm, timeouts.agent));
    if (storage) {
      await moveStorage(storage, options);
      // Hours may have passed.
      await fence.check();
      await options.mayBegin?.();
    }
    const evicted = await drain(client, {
      node: name,
      deadline: new Deadline(`${name} to be empty`, timeouts.drain, run.stop),
      check: () => fence.check(),
    });
    say(`${name}: ${evicted} pods evicted`);
    await awaitDetached(client, name, new Deadline(`the volumes of ${name}`, timeouts.volumes, run.stop));
  } catch (error) {
    await quietly(`${name} could not be given back`, () => restoreIfOurs(run, client, { ...leaver, vm }, fence));
    throw error;
  }
}

/**
 * Gives a node back to its pods, and a server to its clients, unless another process is at it by now. The cordon goes last: by it
 * the next run knows that something is to be taken back.
 */
async function restoreIfOurs(
  run: Run,
  client: Kubernetes,
  { name, role, storage, vm }: Leaver,
  fence: Fence,
): Promise<void> {
  await fence.requireOwned();
  if (storage) await quietly(`Longhorn still empties ${name}`, () => withdrawEviction(client, storage));
  if (role === "server" && vm) await serveAgain(run, vm);
  await restore(client, name);
  say(`${name} serves again`);
}

/** Writes that the node has left; the fact is kept until a run sees that its VM is gone. */
export async function retired(client: Kubernetes, { pool, record }: Pick<Leaver, "pool" | "record">): Promise<void> {
  if (record === undefined || record.phase === "retired") return;
  const since = client.now().toISOString();
  await writeFacts(client, pool, { nodes: [{ ...record, phase: "retired", since }] });
}
