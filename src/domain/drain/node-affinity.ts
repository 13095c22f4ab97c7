import { meets, type Requirement } from "../model/selector.ts";

/** The fields of a node that node affinity reads. */
export interface AffinityNode {
  name: string;
  labels: Readonly<Record<string, string>>;
  /** Whether it may have labels besides, which nobody knows. @default false */
  mayHaveMore?: boolean;
  /** Labels that it has not for certain, even if it may have more. @default none */
  lacks?: readonly string[];
}

/** A node selector in Kubernetes' form, of the node affinity of a PersistentVolume or a pod. */
export interface NodeSelector {
  nodeSelectorTerms?:
    | readonly {
        matchExpressions?: readonly Requirement[] | undefined;
        matchFields?: readonly Requirement[] | undefined;
      }[]
    | undefined;
}

/**
 * Whether a node fits a selector, by the scheduler's own rules: terms are alternatives, all requirements of a term must
 * hold, and a term without requirements fits no node (component-helpers/scheduling/corev1/nodeaffinity).
 * @param unknown the result for what cannot be decided: an operator that a later Kubernetes may have added, and a label
 *   that the node may have
 */
export function fitsNode(selector: NodeSelector, node: AffinityNode, unknown: boolean): boolean {
  return (selector.nodeSelectorTerms ?? []).some(({ matchExpressions = [], matchFields = [] }) => {
    if (matchExpressions.length + matchFields.length === 0) return false;
    const isUnknown = ({ key }: Requirement) =>
      node.mayHaveMore === true && node.labels[key] === undefined && node.lacks?.includes(key) !== true;
    const field = ({ key }: Requirement) => (key === "metadata.name" ? node.name : undefined);
    return (
      matchExpressions.every((one) => (isUnknown(one) ? unknown : holds(one, node.labels[one.key], unknown))) &&
      matchFields.every((one) => holds(one, field(one), unknown))
    );
  });
}

/** A selector in words: `topology.kubernetes.io/zone=a`. */
export function selectorWords(selector: NodeSelector): string {
  const words = ({ key, operator, values = [] }: Requirement) =>
    operator === "In" ? `${key}=${values.join("|")}` : [key, operator, ...values].join(" ");
  return (selector.nodeSelectorTerms ?? [])
    .map(({ matchExpressions = [], matchFields = [] }) =>
      [...matchExpressions, ...matchFields].map(words).join(" and "),
    )
    .join(", or ");
}

/** Whether a selector has one of these names among its values, whatever the label is called. */
export function names(selector: NodeSelector, some: readonly (string | undefined)[]): boolean {
  return (selector.nodeSelectorTerms ?? []).some(({ matchExpressions = [], matchFields = [] }) =>
    [...matchExpressions, ...matchFields].some(
      ({ operator, values = [] }) => operator === "In" && values.some((value) => some.includes(value)),
    ),
  );
}

/** Node selectors also compare numbers. */
function holds(requirement: Requirement, value: string | undefined, unknown: boolean): boolean {
  const [bound] = requirement.values ?? [];
  switch (requirement.operator) {
    case "Gt":
      return compares(value, bound, (is, limit) => is > limit);
    case "Lt":
      return compares(value, bound, (is, limit) => is < limit);
    default:
      return meets(requirement, value, unknown);
  }
}

/** Compares two integers given as text; false when one of them is not an integer. */
export function compares(
  value: string | undefined,
  bound: string | undefined,
  holds: (is: bigint, bound: bigint) => boolean,
): boolean {
  const whole = /^[+-]?\d+$/;
  if (value === undefined || bound === undefined || !whole.test(value) || !whole.test(bound)) return false;
  return holds(BigInt(value.replace("+", "")), BigInt(bound.replace("+", "")));
}
