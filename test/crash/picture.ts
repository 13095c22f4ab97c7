/** The state after a run, as lines that do not depend on the generation, the VMIDs, or the version of a baked image. */
import { locksOf, PROJECT } from "../../src/recovery/engine-state.ts";
import { join } from "node:path";
import { parseNodeName } from "../../src/domain/model/generation.ts";
import type { Site } from "../e2e/site.ts";

const cluster = "demo";

/** A node's name without its generation. */
function place(name: string): string {
  const parts = parseNodeName(name, cluster);
  return parts ? `${parts.pool}-${parts.slot}` : name;
}

/** The name of an image, and that of its base image, without their versions. */
const versionless = (text: string): string =>
  text.replace(/lab-image-v[\d.]+/g, "lab-image").replace(/base-noble-\S+-pve1/g, "base");

/** The state of the data centre, the cluster and etcd. */
export async function clusterPicture(site: Site): Promise<string[]> {
  const { vms, nodes, members, load } = await site.lab.status;
  return [
    ...vms
      .filter(({ template }) => !template)
      .map(({ name, image, pool, running, tags }) => {
        const kept = tags.filter((tag) => !tag.startsWith("eg-gen-"));
        return `VM ${place(name)}: ${versionless(image ?? "")}, ${pool ?? ""}, ${running ? "runs" : "off"}, ${kept.join()}`;
      }),
    ...nodes.map(
      ({ name, ready, schedulable, kubelet }) =>
        `Node ${place(name)}: ${kubelet}${ready ? "" : ", not ready"}${schedulable ? "" : ", cordoned"}`,
    ),
    ...members.map(
      ({ name, learner, healthy }) =>
        `member ${place(name.slice(0, -9))}: ${learner ? "learner" : "voter"}${healthy ? "" : ", ill"}`,
    ),
    load?.ready === load?.wanted
      ? "the workload is ready"
      : `${load?.ready ?? 0} of ${load?.wanted ?? 0} pods are ready`,
  ].sort();
}

/** The stored state: the cluster's records of the nodes that stay, and the engine's state. */
export async function memoryPicture(site: Site, pools: readonly string[]): Promise<string[]> {
  const records = await Promise.all(pools.map((pool) => site.record(pool)));
  const { resources = [], pending_operations: pending = [] } = await site.state();
  const locks = locksOf(join(site.lab.directory, "state"), PROJECT, "dev");
  return [
    ...records.flatMap(({ pool, nodes, generations }) => [
      ...nodes.filter(({ phase }) => phase !== "retired").map(({ slot, phase }) => `record ${pool}-${slot}: ${phase}`),
      ...generations
        .filter(({ state }) => state === "failed")
        .map(({ why }) => `record ${pool}: judged failed: ${why ?? ""}`),
    ]),
    ...resources.map(({ urn }) => `resource ${versionless(urn).replace(/-[0-9a-f]{8}\b/g, "")}`),
    ...pending.map(({ type }) => `pending operation: ${type}`),
    ...locks.map(({ pid }) => `lock of ${pid}`),
  ].sort();
}

/** The lines that are in only one of the two states. */
export function differences(wanted: readonly string[], found: readonly string[]): string[] {
  const surplus = (lines: readonly string[], than: readonly string[]): string[] => {
    const left = [...than];
    return lines.filter((line) => {
      const at = left.indexOf(line);
      if (at >= 0) left.splice(at, 1);
      return at < 0;
    });
  };
  return [
    ...surplus(wanted, found).map((line) => `missing: ${line}`),
    ...surplus(found, wanted).map((line) => `left over: ${line}`),
  ];
}
