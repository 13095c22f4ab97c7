const label = { key: "longhorn.io/component", value: "instance-manager" };

/**
 * Whether labels are those of an instance manager. It runs the engines and replicas of its node, and Longhorn itself
 * deletes its budget with the last of them: no operator has to make room in it.
 */
export function isInstanceManager(labels: Readonly<Record<string, string>> | undefined): boolean {
  return labels?.[label.key] === label.value;
}
