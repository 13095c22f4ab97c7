import { UserErrors } from "../runtime/errors.ts";
import { proveGone, requireFree } from "../clients/kubernetes/gone.ts";
import { findStaleResources } from "./stale-resources.ts";
import { listByNumber, findUnseen } from "../clients/proxmox/vms.ts";
import { hasJoined } from "../domain/rollout/slot-state.ts";
import type { ExclusiveUse } from "./exclusive-use.ts";
import type { EngineSide } from "./engine-side.ts";
import { type EngineState, VM_TYPE } from "./engine-state.ts";
import { awaitDestroys, undoCreate, type UndoneCreate } from "./pending-creates.ts";
import { refuseUnclaimedMembers, removeUntrackedClones, reportUnknownNodes } from "./untracked-clones.ts";
import {
  hasLaterVm,
  mayForget,
  movedAmong,
  refuseAnotherSite,
  refuseHidden,
  refuseRenamed,
  refuseRenumbered,
  refuseStrangers,
  unconfiguredAmong,
} from "./missing-vms.ts";
import type { OpenStack } from "../observe/open-stack.ts";

/** What requests a repair: an operator, which is needed to give up a node that has served, or an update. */
export type Asked = "by hand" | "by an update";

/** The engine's state, and the refreshes that correct it. */
export type Books = Pick<EngineSide, "readState" | "refresh" | "refreshOnly">;

export interface Mending {
  asked: Asked;
  fence: ExclusiveUse;
  /** Prints for the operator what was found, and what was done about it. */
  report: (what: string, how: string) => void;
}

/**
 * Finishes or undoes what a killed run left in the cluster, in Proxmox VE and in the engine's state.
 * @returns how many things were repaired
 * @throws UserError before that, when the VMs of the state are those of another cluster; UserErrors after that, when a VMID
 *   in the state belongs to a VM that is not Evergreen's, when a VM in the state is invisible to the token, or when a
 *   pending create made a VM that must not be removed
 */
export async function mend(books: Books, site: OpenStack, mending: Mending): Promise<number> {
  // Once: to read it takes seconds from some backends, and what follows asks for each VM itself.
  const state = await books.readState();
  const { vms } = state;
  refuseRenamed(vms, site.config, vms.length === 0 ? [] : await listByNumber(site.pve, vms));
  return (await mendCluster(site, mending)) + (await mendState(state, books, site, mending));
}

/** Repairs what a killed run left in the cluster. */
async function mendCluster({ pve, config, observed }: OpenStack, { asked, fence, report }: Mending): Promise<number> {
  const left = (await findStaleResources(pve, config, observed)).filter(
    ({ needsOperator }) => !needsOperator || asked === "by hand",
  );
  let done = 0;
  for (const one of left) {
    await fence.check();
    const mended = await one.mend();
    report(one.what, typeof mended === "string" ? mended : mended.left);
    if (typeof mended === "string") done += 1;
  }
  return done;
}

/** Repairs what it left in the engine's state, and removes clones that are in no state. */
async function mendState(
  { pending, deleting, vms, unfinished, root }: EngineState,
  books: Books,
  site: OpenStack,
  mending: Mending,
): Promise<number> {
  const { asked, fence, report } = mending;
  const undone: UndoneCreate[] = [];
  for (const create of pending) {
    await fence.check();
    const one: UndoneCreate = fence.isSure
      ? await undoCreate(site, create, fence)
      : { how: UNSEEN, urn: create.urn, left: true };
    report(`a create that never ended: ${create.urn}`, one.how);
    undone.push(one);
  }
  let done = fence.isSure ? await removeUntrackedClones(site, vms, fence, report) : 0;
  const unconfigured = await undoUnconfigured(site, vms, unfinished, mending);
  undone.push(...unconfigured.filter(({ left }) => left));
  await awaitDestroys(site.pve, deleting);
  refuseLeft(undone);
  // Listed again: a destroy task may have ended since the state was observed.
  const { gone, hidden, seen } = await findUnseen(site.pve, site.config.site.proxmoxPool, vms);
  const destroyed = new Set(unconfigured.filter((one) => one.destroyed).map(({ urn }) => urn));
  // Before a refresh, which gives the state the name of whoever has the number.
  refuseStrangers(vms, seen, site.config);
  const areOurs = gone.length > 0 && gone.every(({ urn }) => destroyed.has(urn));
  if (hidden.length === 0 && asked === "by hand" && !areOurs) refuseAnotherSite(gone, seen, site);
  const mayRefresh = hidden.length === 0 && (areOurs || (await mayGiveUp(site, gone, asked)));
  if (mayRefresh && pending.length + gone.length > 0) {
    reportGone(gone, report);
    await fence.check();
    const adopted = undone.flatMap(({ urn, id }) => (id === undefined ? [] : [{ urn, id }]));
    await books.refresh(adopted, gone.length > 0 ? gone.map(({ urn }) => urn) : root);
    report("the state of the engine", "refreshed, with pending creates cleared");
    done += pending.length + gone.length;
  }
  if (fence.isSure) {
    const begun = pending.map(({ inputs }) => inputs as { vmId?: number; name?: string });
    await reportUnknownNodes(site, [...vms, ...begun.map(({ vmId: vmid, name }) => ({ vmid, name }))], report);
  }
  refuseUnclaimedMembers(
    site,
    vms.filter((vm) => !gone.includes(vm)),
  );
  refuseHidden(hidden);
  const moved = movedAmong(vms, seen);
  await fence.check();
  await followMoved(books, moved, report);
  return done + moved.length;
}

/**
 * Undoes clones that are in the state and were not completely configured. A VM that was claimed and has joined is not
 * one of them: it was edited manually, and the program decides about that.
 */
async function undoUnconfigured(
  site: OpenStack,
  known: EngineState["vms"],
  unfinished: EngineState["vms"],
  { fence, report }: Mending,
): Promise<UndoneCreate[]> {
  const list = await listByNumber(site.pve, known);
  const records = [...site.observed.records.values()].flatMap(({ nodes }) => nodes);
  const bare = new Set([...unfinished, ...unconfiguredAmong(known, list)].map(({ vmid }) => vmid));
  const found = known.filter(
    ({ vmid, name }) =>
      bare.has(vmid) &&
      list.some((vm) => vm.vmid === vmid && vm.name === name) &&
      !records.some((one) => one.vmid === vmid && one.name === name && hasJoined(one)),
  );
  const undone: UndoneCreate[] = [];
  for (const { urn, name, vmid } of found) {
    await fence.check();
    const create = { urn, type: VM_TYPE, inputs: { name, vmId: vmid } };
    const one: UndoneCreate = fence.isSure ? await undoCreate(site, create, fence) : { how: UNSEEN, urn, left: true };
    report(`VM ${vmid} (${name}) was cloned and could not be configured`, one.how);
    undone.push(one);
  }
  return undone;
}

/** Refuses to forget a pending create whose VM exists: no state would contain the VM any more. @throws UserErrors */
function refuseLeft(undone: readonly UndoneCreate[]): void {
  const left = undone.filter((one) => one.left);
  if (left.length === 0) return;
  throw new UserErrors(
    left.map(({ how, urn }) => ({
      what: `a create that never ended has made something that is not taken away: ${how}`,
      where: urn,
      todo: "the engine keeps the create in mind until that is decided; do what is said there, then run `npx evergreen repair`",
    })),
  );
}

/**
 * Whether the engine may forget VMs that are gone. When an operator requests the repair, it may, once no Node with one
 * of their names is Ready, but for that of a later VM of ours.
 * @throws UserError when the Node of such a VM is still Ready, or when the VM has another number
 */
async function mayGiveUp({ pve, observed }: OpenStack, gone: EngineState["vms"], asked: Asked): Promise<boolean> {
  if (asked !== "by hand") return gone.length === 0 || mayForget(gone, observed);
  const { kubernetes } = observed;
  refuseRenumbered(gone, observed);
  if (kubernetes)
    for (const vm of gone) await (hasLaterVm(vm, observed) ? requireFree(pve, vm) : proveGone(pve, kubernetes, vm));
  return true;
}

/** Refreshes VMs that were migrated to another host: the engine's deletes go to the host in its state. */
export async function followMoved(
  books: Pick<Books, "refreshOnly">,
  moved: EngineState["vms"],
  report: Mending["report"],
): Promise<void> {
  if (moved.length === 0) return;
  await books.refreshOnly(moved.map(({ urn }) => urn));
  for (const { name, vmid, host = "" } of moved)
    report(`the engine remembers VM ${vmid} (${name}) on ${host}, and it was migrated`, "followed");
}

/** Has the engine forget VMs that are gone, unless one of them was a member. @param observed under the lease of an update */
export async function forgetGone(
  books: Pick<Books, "refreshOnly">,
  observed: OpenStack["observed"],
  gone: EngineState["vms"],
  report: Mending["report"],
): Promise<void> {
  if (!mayForget(gone, observed)) return;
  reportGone(gone, report);
  await books.refreshOnly(gone.map(({ urn }) => urn));
  report("the state of the engine", "refreshed");
}

export function reportGone(gone: EngineState["vms"], report: Mending["report"]): void {
  for (const { name, vmid } of gone)
    report(`the engine remembers VM ${vmid} (${name}), which is gone`, "to be forgotten");
}

/** Why an incomplete VM stays when the backend does not show whether an update runs: it could be its clone. */
const UNSEEN =
  "left alone: this backend does not show whether an update runs; see to it that none does, and remove its VM by hand";
