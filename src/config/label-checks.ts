import type { Problem } from "../runtime/errors.ts";
import { ZONE } from "../domain/model/labels.ts";
import type { Config } from "./schema.ts";

/* Labels that the configuration may not give to nodes: a second writer would hide what the first one says with them. */

/**
 * Labels that identify the machine or the server role: RKE2 and the kubelet set them, and other software reads them.
 */
const SET_BY_RKE2 =
  /^(beta\.)?kubernetes\.io\/(hostname|os|arch)$|^node-role\.kubernetes\.io\/(control-plane|etcd|master)$/;

function takenProblems(key: string, where: string): Problem[] {
  if (key.startsWith("evergreen.dev/"))
    return [{ what: `${key} is a label of Evergreen's own`, where, todo: "choose another prefix" }];
  if (SET_BY_RKE2.test(key))
    return [{ what: `${key} is written by RKE2 itself`, where, todo: "remove it, or choose another label" }];
  return [];
}

/** Whether the label that names the host of a node is one that something else writes. */
export function hostLabelProblems({ zones, hostLabel }: Config["site"]): Problem[] {
  const where = "evergreen:site.hostLabel";
  if (hostLabel === undefined) return [];
  return hostLabel === ZONE && zones !== undefined ? [byHost(ZONE, "zones", where)] : takenProblems(hostLabel, where);
}

const byHost = (key: string, by: "zones" | "hostLabel", where: string): Problem => ({
  what: `${key} is given by evergreen:site.${by}, to each node by its host`,
  where,
  todo: "remove it from one of the two",
});

/** The labels of a pool that something else writes. */
export function labelProblems(
  { labels, path }: { labels: Readonly<Record<string, string>>; path: string },
  { zones, hostLabel }: Config["site"],
): Problem[] {
  return Object.keys(labels).flatMap((key): Problem[] => {
    const where = `${path}.labels["${key}"]`;
    const taken = takenProblems(key, where);
    if (taken.length > 0) return taken;
    if (key === hostLabel || (key === ZONE && zones !== undefined))
      return [byHost(key, key === hostLabel ? "hostLabel" : "zones", where)];
    return [];
  });
}
