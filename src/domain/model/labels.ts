import type { Topology } from "./step-environment.ts";

/** The Node label that most local volumes and topology spread constraints refer to. */
export const HOST_NAME = "kubernetes.io/hostname";

/**
 * Labels in Kubernetes' own namespaces that a kubelet may set on its own Node: these, and all under two prefixes
 * (`IsKubeletLabel`).
 */
const ALLOWED =
  /^(topology|failure-domain\.beta)\.kubernetes\.io\/(zone|region)$|^beta\.kubernetes\.io\/(instance-type|os|arch)$|^kubernetes\.io\/(hostname|os|arch)$|^(.+\.)?(node|kubelet)\.kubernetes\.io\//;

/**
 * Whether a kubelet may not set the label on its own Node, so that an administrator has to set it. A kubelet that is
 * configured to register with such a label does not start.
 * Source: Kubernetes' NodeRestriction,
 * https://kubernetes.io/docs/reference/access-authn-authz/admission-controllers/#noderestriction
 */
export function isRestricted(label: string): boolean {
  const prefix = label.includes("/") ? label.slice(0, label.indexOf("/")) : "";
  return /(^|\.)(kubernetes|k8s)\.io$/.test(prefix) && !ALLOWED.test(label);
}

/** The labels of a node that its own kubelet may register with. */
export function registrable(labels: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(labels).filter(([key]) => !isRestricted(key)));
}

/** The wanted labels that a node lacks or has with another value. */
export function owedLabels(
  has: Readonly<Record<string, string>> | undefined,
  wanted: Readonly<Record<string, string>>,
): Record<string, string> {
  return Object.fromEntries(Object.entries(wanted).filter(([key, value]) => has?.[key] !== value));
}

/** The label of Kubernetes that zones are told by. */
export const ZONE = "topology.kubernetes.io/zone";

/** The labels that nodes get with a value of their Proxmox host. */
export function labelsByHost({ zones, hostLabel }: Topology): string[] {
  return [...(zones === undefined ? [] : [ZONE]), ...(hostLabel === undefined ? [] : [hostLabel])];
}

/** The labels of a node whose VM is on a Proxmox host. A host without a zone gives none. */
export function topologyLabels({ zones, hostLabel }: Topology = {}, host: string | undefined): Record<string, string> {
  const zone = host === undefined ? undefined : zones?.[host];
  return {
    ...(zone === undefined ? {} : { [ZONE]: zone }),
    ...(host === undefined || hostLabel === undefined ? {} : { [hostLabel]: host }),
  };
}
