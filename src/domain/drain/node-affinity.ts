/** What node affinity looks at of a node. */
export interface AffinityNode {
  name: string;
  labels: Readonly<Record<string, string>>;
}

interface Requirement {
  key: string;
  operator: string;
  values?: readonly string[] | undefined;
}

/** A node selector as Kubernetes writes it: of a PersistentVolume's and of a pod's node affinity. */
export interface NodeSelector {
  nodeSelectorTerms?:
    | readonly {
        matchExpressions?: readonly Requirement[] | undefined;
        matchFields?: readonly Requirement[] | undefined;
      }[]
    | undefined;
}

/**
 * True when the node fits, by the scheduler's own rules: terms are alternatives, what is in one of them must all hold, and
 * a term without any requirement fits no node (component-helpers/scheduling/corev1/nodeaffinity).
 * @param unknown what an operator counts as that a later Kubernetes may have brought
 */
export function fitsNode(selector: NodeSelector, node: AffinityNode, unknown: boolean): boolean {
  return (selector.nodeSelectorTerms ?? []).some(({ matchExpressions = [], matchFields = [] }) => {
    if (matchExpressions.length + matchFields.length === 0) return false;
    const field = ({ key }: Requirement) => (key === "metadata.name" ? node.name : undefined);
    return (
      matchExpressions.every((one) => holds(one, node.labels[one.key], unknown)) &&
      matchFields.every((one) => holds(one, field(one), unknown))
    );
  });
}

function holds({ operator, values = [] }: Requirement, value: string | undefined, unknown: boolean): boolean {
  switch (operator) {
    case "In":
      return value !== undefined && values.includes(value);
    case "NotIn":
      return value === undefined || !values.includes(value);
    case "Exists":
      return value !== undefined;
    case "DoesNotExist":
      return value === undefined;
    case "Gt":
      return compares(value, values[0], (is, bound) => is > bound);
    case "Lt":
      return compares(value, values[0], (is, bound) => is < bound);
    default:
      return unknown;
  }
}

/** Two whole numbers in text; false when one of them is none. */
export function compares(
  value: string | undefined,
  bound: string | undefined,
  holds: (is: bigint, bound: bigint) => boolean,
): boolean {
  const whole = /^[+-]?\d+$/;
  if (value === undefined || bound === undefined || !whole.test(value) || !whole.test(bound)) return false;
  return holds(BigInt(value.replace("+", "")), BigInt(bound.replace("+", "")));
}
