/** Families of addresses: what RKE2 checks before it starts (k3s, pkg/agent/run.go). */
import { isIPv6 } from "node:net";
import type { GuestContext } from "./context.ts";
import type { Fragment, Ranges } from "./join.ts";
import { JoinFailure } from "./registration.ts";

/** Networks that a cluster has when its servers are not told others. */
const usual: Ranges = { pods: ["10.42.0.0/16"], services: ["10.43.0.0/16"] };

export const withDefaults = ({ pods, services }: Ranges): Ranges => ({
  pods: pods.length > 0 ? pods : usual.pods,
  services: services.length > 0 ? services : usual.services,
});

/** The addresses of a node: those that it was told, or the first one of each family. */
export function nodeIps({ address, addresses6 }: GuestContext, { nodeIp }: Fragment): string[] {
  return nodeIp.length > 0 ? nodeIp : [address, ...addresses6.slice(0, 1)];
}

/** @throws JoinFailure when the node or the services lack a family of the pods */
export function checkFamilies({ pods, services }: Ranges, ips: readonly string[]): void {
  const has = (all: readonly string[]) => [4, 6].filter((family) => all.some((one) => familyOf(one) === family));
  const shown = (all: readonly string[]) => `[${all.join(" ")}]`;
  const rule = "must share the same IP version (IPv4, IPv6 or dual-stack)";
  if (String(has(pods)) !== String(has(services)))
    throw new JoinFailure(`cluster-cidr: ${shown(pods)} and service-cidr: ${shown(services)}, ${rule}`);
  if (has(pods).some((family) => !has(ips).includes(family)))
    throw new JoinFailure(`cluster-cidr: ${shown(pods)} and node-ip: ${shown(ips)}, ${rule}`);
}

const familyOf = (text: string): 4 | 6 => (isIPv6(text.split("/")[0] ?? "") ? 6 : 4);
