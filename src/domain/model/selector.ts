/** One expression of a selector of labels or of nodes. */
export interface Requirement {
  key: string;
  operator: string;
  values?: readonly string[] | undefined;
}

/** A label selector in the form that Kubernetes uses. */
export interface LabelSelector {
  matchLabels?: Record<string, string> | undefined;
  matchExpressions?: readonly Requirement[] | undefined;
}

/**
 * Whether a selector matches the labels. An empty selector matches everything, a missing selector matches nothing
 * (policy/v1).
 */
export function matches(selector: LabelSelector | undefined, labels: Readonly<Record<string, string>>): boolean {
  if (selector === undefined) return false;
  const exact = Object.entries(selector.matchLabels ?? {}).every(([key, value]) => labels[key] === value);
  // An operator of a later Kubernetes counts as a match: an extra budget is safer than a pod that seems to have none.
  return exact && (selector.matchExpressions ?? []).every((one) => meets(one, labels[one.key], true));
}

/**
 * Whether a value meets a requirement, by the operators that all selectors of Kubernetes have.
 * @param value of the requirement's key. Undefined: there is none
 * @param unknown the result for every other operator
 */
export function meets({ operator, values = [] }: Requirement, value: string | undefined, unknown: boolean): boolean {
  switch (operator) {
    case "In":
      return value !== undefined && values.includes(value);
    case "NotIn":
      return value === undefined || !values.includes(value);
    case "Exists":
      return value !== undefined;
    case "DoesNotExist":
      return value === undefined;
    default:
      return unknown;
  }
}
