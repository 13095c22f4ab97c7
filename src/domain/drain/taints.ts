import { compares } from "./node-affinity.ts";

/** A taint of a node, in Kubernetes' form. */
export interface Taint {
  key: string;
  value?: string | undefined;
  effect: string;
}

/** A toleration of a pod, in Kubernetes' form. */
export interface Toleration {
  key?: string | undefined;
  operator?: string | undefined;
  value?: string | undefined;
  effect?: string | undefined;
}

/** Taints of the moment: Kubernetes, RKE2 and Evergreen set and remove them as a node's state changes. */
const PASSING = /^(node(\.cloudprovider)?\.kubernetes\.io|evergreen\.dev)\//;

/** The taints of a node that keep pods away for good. */
export function lastingTaints(taints: readonly Taint[] = []): Taint[] {
  return taints.filter(({ key, effect }) => effect !== "PreferNoSchedule" && !PASSING.test(key));
}

/** A taint of the configuration, `key=value:Effect`, `key=:Effect` or `key:Effect`. */
export function taintOf(text: string): Taint {
  const [pair = "", effect = ""] = text.split(":");
  const [key = "", value = ""] = pair.split("=");
  return { key, value, effect };
}

/** Whether a toleration covers a taint, by the scheduler's own rules. */
export function tolerates(
  { key = "", operator = "Equal", value = "", effect = "" }: Toleration,
  taint: Taint,
): boolean {
  if (effect !== "" && effect !== taint.effect) return false;
  if (key === "") return operator === "Exists";
  if (key !== taint.key) return false;
  switch (operator) {
    case "Exists":
      return true;
    // Since Kubernetes 1.35, behind a feature gate.
    case "Gt":
      return compares(taint.value, value, (is, bound) => is > bound);
    case "Lt":
      return compares(taint.value, value, (is, bound) => is < bound);
    default:
      return value === (taint.value ?? "");
  }
}
