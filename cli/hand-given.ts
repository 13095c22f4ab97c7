/** Labels and taints that somebody gave to nodes with kubectl, as entries of the configuration. */
import { isMap, isSeq, parseDocument } from "yaml";
import { SERVER_POOL, type Config } from "../src/config/config.ts";
import { givenByHand, type HandNode } from "../src/domain/drain/by-hand.ts";
import { UserError } from "../src/runtime/errors.ts";

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
  return pools.flatMap(({ name: pool, labels, taints, startupTaints }) => {
    const nodes = nodesOf(pool);
    const given = { labels, taints: [...taints, ...startupTaints] };
    const found = nodes.map((node) => ({ name: node.metadata?.name ?? "", ...givenByHand(node, given) }));
    const having = (text: string, of: (one: (typeof found)[number]) => string[]): string[] =>
      found.filter((one) => of(one).includes(text)).map(({ name }) => name);
    const everyLabel = [...new Set(found.flatMap(labelTexts))];
    const everyTaint = [...new Set(found.flatMap((one) => one.taints))];
    const some = (kind: string, all: string[], of: (one: (typeof found)[number]) => string[]): string[] =>
      all.flatMap((text) => {
        const names = having(text, of);
        return names.length < nodes.length ? [`${kind} ${text} (${names.join(", ")})`] : [];
      });
    const isEverywhere = (text: string, of: (one: (typeof found)[number]) => string[]): boolean =>
      having(text, of).length === nodes.length;
    const one: HandGiven = {
      pool,
      labels: Object.fromEntries(
        everyLabel
          .filter((text) => isEverywhere(text, labelTexts))
          .map((text) => text.split("=", 2) as [string, string]),
      ),
      taints: everyTaint.filter((text) => isEverywhere(text, ({ taints: own }) => own)),
      ofSome: [...some("label", everyLabel, labelTexts), ...some("taint", everyTaint, ({ taints: own }) => own)],
    };
    return Object.keys(one.labels).length + one.taints.length + one.ofSome.length > 0 ? [one] : [];
  });
}

const labelTexts = ({ labels }: { labels: [string, string][] }): string[] =>
  labels.map(([key, value]) => `${key}=${value}`);

/**
 * The file of a stack with labels and taints that all nodes of a pool have.
 * @throws UserError when a pool is not written as a map
 */
export function withHandGiven(text: string, { pools }: Config, found: readonly HandGiven[], file: string): string {
  const document = parseDocument(text);
  for (const { pool, labels, taints } of found) {
    const index = pools.findIndex(({ name }) => name === pool);
    const path = pool === SERVER_POOL ? ["config", "evergreen:controlPlane"] : ["config", "evergreen:pools", index];
    if (!isMap(document.getIn(path)))
      throw new UserError({
        what: `the labels and taints of ${pool} cannot be written: the pool is not a map of YAML`,
        where: file,
        todo: "write it as YAML and not as text, or put them in by hand",
      });
    for (const [key, value] of Object.entries(labels)) document.setIn([...path, "labels", key], value);
    if (taints.length > 0 && !isSeq(document.getIn([...path, "taints"])))
      document.setIn([...path, "taints"], document.createNode([]));
    for (const taint of taints) document.addIn([...path, "taints"], taint);
  }
  return document.toString({ lineWidth: 0 });
}
