import { UserErrors } from "../runtime/errors.ts";
import { proveGone } from "../clients/kubernetes/gone.ts";
import { findStaleResources } from "./stale-resources.ts";
import { listByNumber, unseenAmong } from "../clients/proxmox/vms.ts";
import { hasJoined } from "../domain/rollout/slot-state.ts";
import type { ExclusiveUse } from "./exclusive-use.ts";
import type { EngineSide } from "./engine-side.ts";
import { type EngineState, VM_TYPE } from "./engine-state.ts";
import { awaitDestroys, undoCreate, type UndoneCreate } from "./pending-creates.ts";
import { removeUntrackedClones } from "./untracked-clones.ts";
import {
  mayForget,
  movedAmong,
  refuseAnotherSite,
  refuseHidden,
  refuseStrangers,
  unconfiguredAmong,
} from "./missing-vms.ts";
import type { OpenStack } from "../observe/open-stack.ts";

/** Who asks for a repair: an operator, whose word it takes to give up a node that has served, or an update. */
export type Asked = "by hand" | "by an update";

/** What the engine remembers, and how that is put right. */
export type Books = Pick<EngineSide, "state" | "refresh" | "refreshOnly">;

export interface Mending {
  asked: Asked;
  fence: ExclusiveUse;
  /** A line for the operator of each thing, and what was done. */
  report: (what: string, how: string) => void;
}

/**
 * Finishes or undoes what a killed run left in the cluster, in Proxmox VE and in the engine's state.
 * @returns how many things were mended
 * @throws UserErrors after that, when a number of the engine's is somebody else's, a VM of its is out of the token's sight, or a
 *   create made what nobody may take away
 */
export async function mend(books: Books, site: OpenStack, mending: Mending): Promise<number> {
  return (await mendCluster(site, mending)) + (await mendState(books, site, mending));
}

/** What a killed run left in the cluster. */
async function mendCluster({ pve, config, observed }: OpenStack, { asked, fence, report }: Mending): Promise<number> {
  const left = (await findStaleResources(pve, config, observed)).filter(({ byHand }) => !byHand || asked === "by hand");
  for (const one of left) {
    await fence.check();
    report(one.what, await one.mend());
  }
  return left.length;
}

/** What it left in the engine's state, and the clones that no state knows. */
async function mendState(books: Books, site: OpenStack, mending: Mending): Promise<number> {
  const { asked, fence, report } = mending;
  const { pending, deleting, vms, unfinished } = await books.state();
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
  undone.push(...(await undoUnconfigured(site, vms, unfinished, mending)));
  await awaitDestroys(site.pve, deleting);
  refuseLeft(undone);
  // Listed anew: a destruction may have ended since the picture.
  const { gone, hidden, seen } = await unseenAmong(site.pve, site.config.site.proxmoxPool, vms);
  if (hidden.length === 0 && asked === "by hand") refuseAnotherSite(gone, seen, site);
  const mayRefresh = hidden.length === 0 && (await mayGiveUp(site, gone, asked));
  if (mayRefresh && pending.length + gone.length > 0) {
    reportGone(gone, report);
    await fence.check();
    await books.refresh(undone.flatMap(({ urn, id }) => (id === undefined ? [] : [{ urn, id }])));
    report("the state of the engine", "refreshed, with pending creates cleared");
    done += pending.length + gone.length;
  }
  refuseStrangers(vms, seen);
  refuseHidden(hidden);
  const moved = movedAmong(vms, seen);
  await fence.check();
  await followMoved(books, moved, report);
  return done + moved.length;
}

/**
 * Clones that the engine has and that were not configured to their end. One that was claimed and has joined is none: somebody
 * has edited it, which is for the program to judge.
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
    if (one.left) undone.push(one);
  }
  return undone;
}

/** A create whose VM is there is not forgotten: nobody would know the VM any more. @throws UserErrors */
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
 * Whether the engine may forget VMs that are gone. An operator's word is enough once nothing runs under their names.
 * @throws UserError when a Node of one is Ready all the same
 */
async function mayGiveUp({ pve, observed }: OpenStack, gone: EngineState["vms"], asked: Asked): Promise<boolean> {
  if (asked !== "by hand") return gone.length === 0 || mayForget(gone, observed);
  const { kubernetes } = observed;
  if (kubernetes) for (const vm of gone) await proveGone(pve, kubernetes, vm);
  return true;
}

/** Has the engine look where VMs are that were migrated: its deletes go to the host that it remembers. */
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

export function reportGone(gone: EngineState["vms"], report: Mending["report"]): void {
  for (const { name, vmid } of gone)
    report(`the engine remembers VM ${vmid} (${name}), which is gone`, "to be forgotten");
}

/** Why a half-made VM stays on a backend that does not say whether an update runs: it could be that update's clone. */
const UNSEEN =
  "left alone: this backend does not show whether an update runs; see to it that none does, and remove its VM by hand";
