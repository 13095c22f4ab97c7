import { Deadline, DeadlineError } from "../common/deadline.ts";
import { UserError } from "../common/errors.ts";
import { say } from "../common/log.ts";
import type { Kubernetes } from "../kubernetes/client.ts";
import { writeFacts } from "../kubernetes/record.ts";
import { namespacedPath, paths, type Pod } from "../kubernetes/types.ts";
import { until } from "../kubernetes/watch.ts";
import { displacedFrom, unplaced, type Displaced } from "../rollout/placement.ts";
import type { PoolRecord } from "../rollout/types.ts";
import type { SlotInput } from "./input.ts";
import { known } from "./member.ts";
import type { Run } from "./run.ts";

/**
 * Remembers whose pods a handover is about to evict: a run that is killed after the drain knows by it what has to find a
 * place before the slot is handed over.
 */
export async function rememberDisplaced(
  client: Kubernetes,
  input: SlotInput,
  leaving: ReadonlySet<string>,
): Promise<void> {
  const { own, record } = await known(client, input);
  const { items } = await client.list<Pod>(paths.pods);
  const before = owed(record, input);
  const more = displacedFrom(items, leaving, keptClaims(record)).filter((one) => !has(before, one));
  if (own === undefined || more.length === 0) return;
  await writeFacts(client, input.pool, { nodes: [{ ...own, displaced: [...(own.displaced ?? []), ...more] }] });
}

/**
 * What has to find a place before the slot is handed over: also what was evicted for a node that was given up since, for
 * nobody else waits for that.
 */
export function owed({ nodes }: PoolRecord, { slot }: Pick<SlotInput, "slot">): Displaced[] {
  const all = nodes.filter((node) => node.slot === slot).flatMap(({ displaced = [] }) => displaced);
  return all.filter((one, index) => !has(all.slice(0, index), one));
}

function has(some: readonly Displaced[], { namespace, kind, name }: Displaced): boolean {
  return some.some((one) => one.namespace === namespace && one.kind === kind && one.name === name);
}

/**
 * Waits until what a handover has evicted runs elsewhere.
 * @throws UserError that names the pods: no other node is drained before they have a place. No image is to blame.
 */
export async function awaitPlaced(run: Run, client: Kubernetes, input: SlotInput): Promise<void> {
  const { record } = await known(client, input);
  const displaced = owed(record, input);
  if (displaced.length === 0) return;
  const replicas = new Map(
    await Promise.all(displaced.map(async (one) => [one, await readReplicas(client, one)] as const)),
  );
  const kept = keptClaims(record);
  let left: string[] = [];
  const deadline = new Deadline("what was evicted to find a place", input.site.timeouts.gate, run.stop);
  try {
    await until<Pod, true>(
      client,
      { path: paths.pods },
      deadline,
      (seen) => {
        left = unplaced([...seen.values()], displaced, (one) => replicas.get(one), kept);
        return left.length === 0 ? true : undefined;
      },
      () => left.join("; "),
    );
  } catch (error) {
    if (!(error instanceof DeadlineError)) throw error;
    throw new UserError(
      {
        what: `pods that were evicted for ${input.node} have found no place in ${deadline.seconds} s: ${left.join("; ")}`,
        where: `slot ${input.slot} of pool ${input.pool}, whose new node serves`,
        todo: "give the cluster room, or the labels and taints that these pods ask for, or scale them down; then run again. No other node of the pool is drained before, and the image is not judged",
      },
      { cause: error },
    );
  }
  say(`${displaced.length} controllers have their pods elsewhere`);
}

/** Claims on the disks of nodes that leave by consent: their pods wait for data and not for a place. */
function keptClaims({ nodes }: PoolRecord): Set<string> {
  return new Set(nodes.flatMap(({ keeps = [] }) => keeps.map(({ claim }) => claim)));
}

const collections: Readonly<Record<string, string>> = { ReplicaSet: "replicasets", StatefulSet: "statefulsets" };

/** How many pods a controller wants now; undefined for kinds that do not say so in a way that we know. */
async function readReplicas(client: Kubernetes, { namespace, kind, name }: Displaced): Promise<number | undefined> {
  const collection = collections[kind];
  if (collection === undefined) return undefined;
  const path = namespacedPath("apps/v1", namespace, `${collection}/${name}`);
  const found = await client.find<{ spec?: { replicas?: number } }>(path);
  return found?.spec?.replicas ?? 0;
}
