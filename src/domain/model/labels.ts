/** The label of a node that most local volumes and spreading rules go by. */
export const HOST_NAME = "kubernetes.io/hostname";

/** What a kubelet may give its own node of Kubernetes' own labels: these, and all under two prefixes (`IsKubeletLabel`). */
const ALLOWED =
  /^(topology|failure-domain\.beta)\.kubernetes\.io\/(zone|region)$|^beta\.kubernetes\.io\/(instance-type|os|arch)$|^kubernetes\.io\/(hostname|os|arch)$|^(.+\.)?(node|kubelet)\.kubernetes\.io\//;

/**
 * Whether a kubelet is refused the label on its own node, so that an administrator has to set it: one that is told to register
 * with such a label does not start.
 * Source: Kubernetes' NodeRestriction, https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction
 */
export function isRestricted(label: string): boolean {
  const prefix = label.includes("/") ? label.slice(0, label.indexOf("/")) : "";
  return /(^|\.)(kubernetes|k8s)\.io$/.test(prefix) && !ALLOWED.test(label);
}

/** The labels of a node that its own kubelet may register with. */
export function registrable(labels: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(labels).filter(([key]) => !isRestricted(key)));
}

/** The labels that a node lacks, or has with another value. */
export function owedLabels(
  has: Readonly<Record<string, string>> | undefined,
  wanted: Readonly<Record<string, string>>,
): Record<string, string> {
  return Object.fromEntries(Object.entries(wanted).filter(([key, value]) => has?.[key] !== value));
}
