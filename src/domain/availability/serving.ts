/** The fields of a node that decide whether pods can run on it; Kubernetes' own Node fits. */
export interface ServingNode {
  spec?: {
    unschedulable?: boolean | undefined;
    taints?: { key: string; value?: string | undefined; effect: string }[] | undefined;
  };
  status?: { conditions?: { type: string; status: string; message?: string | undefined }[] | undefined };
}

/** A reason why pods cannot run on a node that is Ready. */
export interface SchedulingObstacle {
  reason: string;
  /**
   * - `node`: a condition of the machine itself, so a node that has just joined is at fault.
   * - `daemons`: a startup taint, which a daemon of the node removes, or a controller elsewhere once that daemon works.
   * - `controllers`: the taint of a node that was not Ready, which controllers remove by themselves, or add late.
   * - `others`: an operator or a foreign controller.
   */
  by: "node" | "daemons" | "controllers" | "others";
}

/**
 * Conditions that a kubelet or the network reports about its own machine, and the taints that controllers derive from
 * them.
 */
const pressures: Readonly<Record<string, string>> = {
  MemoryPressure: "node.kubernetes.io/memory-pressure",
  DiskPressure: "node.kubernetes.io/disk-pressure",
  PIDPressure: "node.kubernetes.io/pid-pressure",
  NetworkUnavailable: "node.kubernetes.io/network-unavailable",
};

/** Conditions that pods bring about which use up a node. */
const ofPods = ["MemoryPressure", "DiskPressure", "PIDPressure"];

/** The conditions of a node that pods may have brought about. */
export function pressuresOfPods({ status }: ServingNode): string[] {
  const pressing = (status?.conditions ?? []).filter(({ type, status: is }) => is === "True" && ofPods.includes(type));
  return pressing.map(({ type }) => type);
}

/** Taints that the node lifecycle controller adds to a node that is not Ready, and removes seconds after it is. */
const notReady = ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"];

/** The taint of a cordon, which is reported as a cordon. */
const unschedulable = "node.kubernetes.io/unschedulable";

/**
 * What keeps pods away from a node that is Ready. A taint that only expresses a preference (`PreferNoSchedule`) is no
 * obstacle.
 * @param own taints that the pool sets on its nodes permanently, as `key=value:Effect`
 * @param startup taints that a node registers with and that its own daemons remove once they work
 */
export function schedulingObstacles(
  { spec, status }: ServingNode,
  own: readonly string[] = [],
  startup: readonly string[] = [],
): SchedulingObstacle[] {
  const found: SchedulingObstacle[] = [];
  const pressing = (status?.conditions ?? []).filter((one) => one.type in pressures && one.status === "True");
  for (const { type, message } of pressing)
    found.push({ reason: `${type} is True${message ? ` (${message})` : ""}`, by: "node" });
  const said = new Set(pressing.map(({ type }) => pressures[type]));
  if (spec?.unschedulable === true) found.push({ reason: "it is cordoned, and not by us", by: "others" });
  for (const { key, value, effect } of spec?.taints ?? []) {
    const taint = written(key, value, effect);
    if (effect === "PreferNoSchedule" || key === unschedulable || said.has(key) || has(own, taint)) continue;
    if (has(startup, taint)) found.push({ reason: `the startup taint ${taint} was not removed`, by: "daemons" });
    else if (Object.values(pressures).includes(key)) found.push({ reason: `it has the taint ${taint}`, by: "node" });
    else if (notReady.includes(key)) found.push({ reason: `it still has the taint ${taint}`, by: "controllers" });
    else found.push({ reason: `it has the taint ${taint}, which is not configured`, by: "others" });
  }
  return found;
}

function has(taints: readonly string[], wanted: string): boolean {
  return taints.some((taint) => canonical(taint) === wanted);
}

/** A taint in one form: `key=:Effect` and `key:Effect` are the same taint. */
function canonical(taint: string): string {
  return taint.replace("=:", ":");
}

function written(key: string, value: string | undefined, effect: string): string {
  return `${key}${value ? `=${value}` : ""}:${effect}`;
}
