import type { Decision, Situation } from "./situation.ts";
import { isAdopted } from "../model/generation.ts";
import type { Problem } from "../model/problem.ts";
import type { SlotState } from "./slot-state.ts";
import type { NodeRecord, PoolRecord, Role } from "../model/types.ts";

/**
 * Adoption: a live node that Evergreen did not make becomes the predecessor of a slot, and the first rollout replaces
 * it like a node of an older generation. Its identity in the configuration takes the place of a recorded one.
 */

/** A node that the configuration adopts. */
export interface Adoption {
  pool: string;
  role: Role;
  slot: number;
  vmid: number;
  /** SMBIOS uuid, lower case. */
  uuid: string;
  /** Name of its Node and of its VM. */
  node: string;
  /** Path of the entry in the configuration. */
  where: string;
}

/** What both APIs and the pool's record say about an adopted node. */
export interface AdoptionFacts {
  adoption: Adoption;
  /** The Proxmox pool that the VM must be in: the token has no rights outside it. */
  proxmoxPool: string;
  /** The VM with that VMID. Undefined: the token sees none. */
  vm:
    | {
        /** Undefined: its host was asked too, and does not answer. */
        name: string | undefined;
        /** Undefined: it was not read, because another check has failed already. */
        uuid: string | undefined;
        template: boolean;
        pool: string | undefined;
        /** The identity that Evergreen's tags on the VM state, when it differs from the configuration. */
        claims: string | undefined;
      }
    | undefined;
  /** The Node of that name. Undefined: there is none. `ours`: it has Evergreen's labels. */
  node: { uuid: string; role: Role; ours: boolean; claims: string | undefined } | undefined;
  record: PoolRecord | undefined;
}

/**
 * Whether the entry is done: the VM was decommissioned; or it no longer exists, and the slot belongs to another node.
 * Such an entry is no obstacle, whatever VM has its VMID by now.
 */
export function isOver({ adoption, vm, node, record }: AdoptionFacts): boolean {
  const own = memoryOf(adoption, record);
  // A server is recorded as retired before it has left; its labels are deleted with its Node.
  if (own !== undefined) return own.phase === "retired" && node?.ours !== true;
  const there = vm?.uuid === adoption.uuid || node?.uuid === adoption.uuid;
  return !there && ownerOf(adoption, record) !== undefined;
}

function memoryOf({ uuid }: Adoption, record: PoolRecord | undefined): NodeRecord | undefined {
  return record?.nodes.find((node) => node.uuid === uuid);
}

function ownerOf(adoption: Adoption, record: PoolRecord | undefined): string | undefined {
  return record?.nodes.find(
    ({ slot, phase, uuid }) => slot === adoption.slot && phase === "handedOver" && uuid !== adoption.uuid,
  )?.name;
}

/**
 * The reasons why a node cannot be adopted. VMID, name and uuid must agree everywhere; otherwise nothing is done to the
 * VM.
 */
export function adoptionProblems(facts: AdoptionFacts): Problem[] {
  if (isOver(facts)) return [];
  const { adoption, proxmoxPool, record, vm } = facts;
  const problem = (why: string, todo: string): Problem[] => [
    { what: `VM ${adoption.vmid} cannot be adopted as ${adoption.node}: ${why}`, where: adoption.where, todo },
  ];
  const move = `move VM ${adoption.vmid} into the pool ${proxmoxPool} (pvesh set /pools/${proxmoxPool} --vms ${adoption.vmid}), or correct the entry`;
  const isKnown = memoryOf(adoption, record) !== undefined;
  if (vm === undefined && isKnown)
    return problem(
      "it was taken over, and the token does not see it any more",
      `put it back into the pool ${proxmoxPool} (pvesh set /pools/${proxmoxPool} --vms ${adoption.vmid}); if it was deleted by hand, npx evergreen repair heals it, once no stranger's VM has its number`,
    );
  if (vm === undefined) return problem(`the token sees no such VM in the Proxmox pool ${proxmoxPool}`, move);
  if (vm.name === undefined)
    return problem(
      "nobody can say which machine it is, because its Proxmox host does not answer",
      "nothing was done to it. Bring that host back, then run again",
    );
  const isAnother = isKnown && vm.name !== adoption.node;
  if (vm.pool !== proxmoxPool && !isAnother)
    return problem(`it is in the Proxmox pool ${vm.pool ?? "of nobody"}`, move);
  const why = contradictions(facts);
  if (why.length === 0) return [];
  const again = isKnown
    ? " It was taken over: if that VM was deleted by hand, give this one another number, then npx evergreen repair heals it."
    : "";
  return problem(
    why.join("; "),
    `nothing was done to it.${again} Correct the entry, or that machine; \`npx evergreen adopt\` proposes entries that fit`,
  );
}

function contradictions({ adoption, vm, node, record }: AdoptionFacts): string[] {
  const found: string[] = [];
  if (vm?.template === true) found.push("it is a template");
  if (vm?.name !== adoption.node)
    found.push(`its name is ${vm?.name ?? "unknown"}, and VM and Node must have one name`);
  if (vm?.uuid !== undefined && vm.uuid !== adoption.uuid) found.push(`its SMBIOS uuid is ${vm.uuid || "not set"}`);
  if (vm?.claims !== undefined) found.push(`its tags say that it is ${vm.claims}`);
  // A node that is recorded already may have no Node: a run was killed while it decommissioned the node.
  const known = memoryOf(adoption, record) !== undefined;
  if (node === undefined && !known) found.push("the cluster has no Node of that name");
  if (node !== undefined) {
    if (node.uuid !== adoption.uuid)
      found.push(`the Node runs in the machine ${node.uuid || "that it has not named yet"}`);
    if (node.role !== adoption.role)
      found.push(`the Node is ${a(node.role)}, and the pool is one of ${adoption.role}s`);
    if (node.claims !== undefined) found.push(`the Node's labels say that it is ${node.claims}`);
  }
  const owner = known ? undefined : ownerOf(adoption, record);
  if (owner !== undefined) found.push(`slot ${adoption.slot} belongs to ${owner}`);
  return found;
}

const a = (role: Role): string => (role === "agent" ? "an agent" : "a server");

/** Slots that stay with an adopted node in this run. */
export function keptSlots({ slots }: Situation, decision: Decision): SlotState[] {
  const moves = (slot: number) => decision.target !== undefined && decision.moves.has(slot);
  return slots.filter(({ slot, owner }) => owner !== undefined && isAdopted(owner) && !moves(slot));
}

/**
 * The decision, except that an adopted server without any other server stays until the configuration consents. The
 * agents need not wait for that.
 */
export function sparing({ pool, slots }: Situation, decision: Decision): Decision {
  const [only] = slots;
  const alone = pool.role === "server" && pool.slots === 1 && pool.strategy.replaceOnlyServer !== true;
  if (!alone || only?.owner === undefined || !isAdopted(only.owner)) return decision;
  const why = [`${only.owner.name} is the only server: set controlPlane.replaceOnlyServer to replace it`];
  return { ...decision, kind: "steady", target: undefined, moves: new Set(), verdict: undefined, why };
}

/**
 * Problems of adopted nodes in slots that are given up. An adopted VM is not in the engine's state, so no delete step
 * would decommission its node.
 */
export function adoptedAndGivenUp(pool: string, givenUp: readonly SlotState[]): Problem[] {
  const members = givenUp.flatMap((state) => state.members).filter(isAdopted);
  return members.map(({ name, slot }) => ({
    what: `${name} was adopted and has no successor, and its slot ${slot} is given up`,
    where: `pool ${pool}`,
    todo: "keep the slot until a run has replaced the node, and give it up after that",
  }));
}
