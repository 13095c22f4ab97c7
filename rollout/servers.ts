import type { Problem } from "./problem.ts";
import type { SlotState } from "./slots.ts";
import type { Generation, PoolLive, PoolSpec } from "./types.ts";
import { whyAgentMayNotJoin } from "./versions.ts";
import { changesBetween } from "./words.ts";
import { generationOf } from "./generation.ts";

/** What may not be done to a control plane: servers are made, and they stay. */
export function serverProblems(
  pool: PoolSpec,
  states: readonly SlotState[],
  known: ReadonlyMap<string, Generation>,
): Problem[] {
  if (pool.role !== "server") return [];
  const wanted = generationOf(pool.node);
  const owned = states.flatMap((state) => state.owner ?? []);
  const replaced = owned.filter((owner) => owner.slot < pool.slots && owner.generation !== wanted.id);
  const removed = owned.filter((owner) => owner.slot >= pool.slots);
  const problems: Problem[] = [];
  const [first] = replaced;
  if (first !== undefined) {
    const before = known.get(first.generation);
    problems.push({
      what: `this would replace ${replaced.length} servers, which is not possible yet`,
      where: `controlPlane: ${before ? changesBetween(before.spec, wanted.spec).join(", ") : `not what ${first.name} is`}`,
      todo: "put the former values back; agents can still be rolled, up to the RKE2 version of the servers",
    });
  }
  if (removed.length > 0) {
    problems.push({
      what: `this would remove servers, which is not possible yet: ${removed.map((owner) => owner.name).join(", ")}`,
      where: `controlPlane.servers: ${pool.slots}`,
      todo: `set it back to ${pool.slots + removed.length}`,
    });
  }
  return problems;
}

/** RKE2 versions that agents must not exceed: what servers run, and what servers that are still to come will run. */
export function serverVersions(controlPlane: PoolSpec, live: PoolLive): string[] {
  const running = live.nodes.filter((node) => node.role === "server").map((node) => node.kubelet);
  return [...new Set([...running, controlPlane.node.rke2])];
}

/** An agent image newer than the servers is refused, whatever else the plan would do. */
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
