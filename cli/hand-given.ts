/** Labels and taints that somebody gave to nodes with kubectl, as entries of the configuration. */
import { SERVER_POOL, type Config } from "../src/config/config.ts";
import { givenByHand, type HandNode } from "../src/domain/drain/by-hand.ts";
import { labelsByHost } from "../src/domain/model/labels.ts";
import { withChanges } from "./stack-file.ts";

/** What all nodes of a pool have by hand, and what only some of them have. */
export interface HandGiven {
  pool: string;
  labels: Record<string, string>;
  taints: string[];
  /** `label rack=r1 (worker-0)` */
  ofSome: string[];
}

/** @param nodesOf nodes of a pool */
export function findHandGiven(config: Config, nodesOf: (pool: string) => readonly HandNode[]): HandGiven[] {
  const pools = [{ ...config.controlPlane, name: SERVER_POOL }, ...config.pools];
  return pools.flatMap(({ name: pool, labels, taints, startupTaints }): HandGiven[] => {
    const given = { byHost: labelsByHost(config.site), labels, taints: [...taints, ...startupTaints] };
    const nodes = nodesOf(pool).map((node) => ({ name: node.metadata?.name ?? "", ...givenByHand(node, given) }));
    const ofLabels = byOwners(nodes.map(({ name, labels: own }) => ({ name, has: own.map((pair) => pair.join("=")) })));
    const ofTaints = byOwners(nodes.map(({ name, taints: own }) => ({ name, has: own })));
    const ofSome = [...ofLabels.ofSome.map((one) => `label ${one}`), ...ofTaints.ofSome.map((one) => `taint ${one}`)];
    if (ofLabels.ofAll.length + ofTaints.ofAll.length + ofSome.length === 0) return [];
    const pairs = ofLabels.ofAll.map((text) => text.split("=", 2) as [string, string]);
    return [{ pool, labels: Object.fromEntries(pairs), taints: ofTaints.ofAll, ofSome }];
  });
}

/** What every node has, and what only some have, with the names of these. */
function byOwners(nodes: readonly { name: string; has: readonly string[] }[]): { ofAll: string[]; ofSome: string[] } {
  const owned = nodes.flatMap(({ name, has }) => has.map((text) => ({ text, name })));
  const owners = [...Map.groupBy(owned, ({ text }) => text)];
  return {
    ofAll: owners.filter(([, own]) => own.length === nodes.length).map(([text]) => text),
    ofSome: owners
      .filter(([, own]) => own.length < nodes.length)
      .map(([text, own]) => `${text} (${own.map(({ name }) => name).join(", ")})`),
  };
}

/**
 * The text of a stack's file with labels and taints that all nodes of a pool have.
 * @throws UserError when a pool is not a map of YAML there
 */
export function withHandGiven(text: string, config: Config, found: readonly HandGiven[], file: string): string {
  const changes = found.map((one) => [one.pool, one] as const);
  return withChanges({ text, file }, config, changes, (pool, { labels, taints }) => {
    for (const [key, value] of Object.entries(labels)) pool.set(["labels", key], value);
    for (const taint of taints) pool.append("taints", taint);
  });
}
