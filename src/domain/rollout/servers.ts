import type { Problem } from "../model/problem.ts";
import { hasJoined, type SlotState } from "./slot-state.ts";
import type { Generation, NodeRecord, PoolSpec } from "../model/types.ts";
import { whyAgentMayNotJoin } from "../versions/versions.ts";

/**
 * Changes that a control plane does not allow. A control plane of one server has no majority to spare while the server
 * is replaced: with two members etcd survives the loss of neither (harvester#10319).
 */
export function serverProblems(
  pool: PoolSpec,
  slots: readonly SlotState[],
  chosen: ReadonlyMap<number, Generation>,
): Problem[] {
  if (pool.role !== "server" || pool.slots > 1 || pool.strategy.replaceOnlyServer === true) return [];
  return slots.flatMap(({ slot, owner }) =>
    owner === undefined || chosen.get(slot)?.id === owner.generation
      ? []
      : [
          {
            what: `this would replace the only server ${owner.name}: until it has left, the cluster survives the loss of neither server`,
            where: "evergreen:controlPlane",
            todo: "set controlPlane.servers to 3 first; or set controlPlane.replaceOnlyServer to true and accept the risk, with a fresh snapshot at hand",
          },
        ],
  );
}

/**
 * Whether a plan takes a control plane that serves with one server through two voters, of which neither may fail: a
 * snapshot has to be proved before. A first creation that goes on holds nothing yet: its server has no slot.
 */
export function passesTwoVoters(slots: readonly { name: string }[], nodes: readonly NodeRecord[]): boolean {
  const [only, ...others] = nodes.filter(hasJoined);
  return only?.phase === "handedOver" && others.length === 0 && slots.some(({ name }) => name !== only.name);
}

/** The problem of an agent image that is newer than the servers: it is refused, whatever else the plan would do. */
export function skewProblems(pool: PoolSpec, servers: readonly string[]): Problem[] {
  if (pool.role !== "agent") return [];
  const why = whyAgentMayNotJoin(pool.node.rke2, servers);
  if (why === undefined) return [];
  return [
    {
      what: `${pool.node.image} cannot be used for agents: ${why}`,
      where: `pool ${pool.name}, image`,
      todo: "choose an image with the RKE2 version of the servers or an older one; servers go first",
    },
  ];
}
