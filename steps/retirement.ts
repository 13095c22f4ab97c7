import { Deadline } from "../common/deadline.ts";
import { messageOf, UserError } from "../common/errors.ts";
import { say } from "../common/log.ts";
import type { Kubernetes } from "../kubernetes/client.ts";
import { drain } from "../kubernetes/eviction.ts";
import { LeaseLost, type Fence } from "../kubernetes/lease.ts";
import { cordon, deleteNode, nameOf, restore } from "../kubernetes/nodes.ts";
import { writeFacts } from "../kubernetes/record.ts";
import { paths, type Node, type Pod, type PodDisruptionBudget } from "../kubernetes/types.ts";
import { awaitDetached } from "../kubernetes/volumes.ts";
import { isAgentSilent, isNoSuchFile } from "../proxmox/agent.ts";
import { proveVm, type ExpectedVm } from "../proxmox/identity.ts";
import { setOnBoot, turnOff } from "../proxmox/power.ts";
import { isRunning, type ListedVm, type VmConfig } from "../proxmox/vms.ts";
import { blockerOf, blockers, evictionOrder, leaves } from "../rollout/drain.ts";
import type { NodeRecord, Role } from "../rollout/types.ts";
import type { Site } from "../rollout/step-environment.ts";
import { wipeJoinData } from "./join-data.ts";
import { quietly, type Run } from "./run.ts";

/** A node that leaves: any part of it may be gone already. */
export interface Leaver {
  name: string;
  role: Role;
  pool: string;
  vm: ListedVm | undefined;
  /** Who its VM has to be. */
  expected: ExpectedVm;
  node: Node | undefined;
  record: NodeRecord | undefined;
}

export interface RetireOptions {
  run: Run;
  client: Kubernetes;
  fence: Fence;
  site: Site;
}

/**
 * Takes a node out: cordon, evict, volumes, wipe, power off, forget. Each part is skipped when it was done before. When
 * the node cannot be emptied it serves again as before, and its VM stays.
 */
export async function retireNode(leaver: Leaver, options: RetireOptions): Promise<void> {
  const { client, fence, run } = options;
  const { node, vm, name } = leaver;
  refuseServer(leaver);
  // The list may be seconds old, and this decides between a drain and none.
  const running = vm !== undefined && (await isRunning(run.pve, vm));
  if (node && running) await emptied(node, options);
  if (vm) await switchOff(vm, running, leaver.expected, options);
  await fence.check();
  await deleteNode(client, name, node?.metadata?.uid);
  await retired(client, leaver);
  say(`${name} is retired${running ? " and off" : ""}`);
}

async function emptied(node: Node, { client, fence, site, run }: RetireOptions): Promise<void> {
  const name = nameOf(node);
  try {
    await fence.check();
    await cordon(client, node, run.id);
    const evicted = await drain(client, {
      node: name,
      deadline: new Deadline(`${name} to be empty`, site.timeouts.drain, run.stop),
      check: () => fence.check(),
      leaves,
      order: evictionOrder,
      blocker: blockerOf,
    });
    say(`${name}: ${evicted} pods evicted`);
    await awaitDetached(client, name, new Deadline(`the volumes of ${name}`, site.timeouts.volumes, run.stop));
  } catch (error) {
    await quietly(`${name} could not be given back`, () => restoreIfOurs(client, name, fence));
    throw error;
  }
}

/** Gives a node back to its pods, unless another process is at it by now. */
async function restoreIfOurs(client: Kubernetes, name: string, fence: Fence): Promise<void> {
  try {
    await fence.check();
  } catch (error) {
    // A cancelled run still owns its lease, and may tidy up.
    if (error instanceof LeaseLost) throw error;
  }
  await restore(client, name);
  say(`${name} serves again`);
}

/** Wipes the guest and turns its VM off, after the proof that it is ours. */
async function switchOff(vm: ListedVm, running: boolean, expected: ExpectedVm, options: RetireOptions): Promise<void> {
  const { run, fence, site } = options;
  await fence.check();
  const config = await proveVm(run.pve, vm.host, expected);
  if (running) await wipe(run, config);
  await fence.check();
  await powerOff(run, config, running, site);
}

/** The digest of what was proved goes along with the write right before the power goes: no other VM is turned off. */
export async function powerOff(run: Run, config: VmConfig, running: boolean, site: Site): Promise<void> {
  if (config.onBoot || running) await setOnBoot(run.pve, config, false, config.digest);
  if (running) await turnOff(run.pve, config, site.timeouts.shutdown);
}

async function wipe(run: Run, config: VmConfig): Promise<void> {
  try {
    await wipeJoinData(run.pve, config);
  } catch (error) {
    if (!isAgentSilent(error) && !isNoSuchFile(error)) throw error;
    // Its token is used up and its Node goes: it does not come back without fresh join data either.
    say(`${config.name}: the guest could not be wiped (${messageOf(error)}); its VM is turned off all the same`);
  }
}

/** Writes that the node has left; the fact is kept until a run sees that its VM is gone. */
export async function retired(client: Kubernetes, { pool, record }: Pick<Leaver, "pool" | "record">): Promise<void> {
  if (record === undefined || record.phase === "retired") return;
  const since = client.now().toISOString();
  await writeFacts(client, pool, { nodes: [{ ...record, phase: "retired", since }] });
}

function refuseServer({ name, role, node }: Leaver): void {
  if (role !== "server" || node === undefined) return;
  throw new UserError({
    what: `${name} is a server and a member of etcd: this version does not take servers out of a cluster that stays`,
    where: `Node ${name}`,
    todo: "keep the number, image and size of the servers; to take the whole cluster away, let pulumi up succeed with evergreen:allowDestroy, without pools if need be, then pulumi destroy",
  });
}

/** Says by name what will hold nodes back, or will not serve while it moves, before anything is disturbed. */
export async function sayBlockers(client: Kubernetes, nodes: ReadonlySet<string>): Promise<void> {
  if (nodes.size === 0) return;
  const [pods, budgets] = await Promise.all([
    client.list<Pod>(paths.pods),
    client.list<PodDisruptionBudget>(paths.budgets),
  ]);
  for (const { what, where, todo } of blockers(pods.items, budgets.items, nodes))
    say(`${what}\n  where: ${where}\n  do:    ${todo}`);
}
