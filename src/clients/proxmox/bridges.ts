import type { Proxmox } from "./client.ts";
import { Row } from "./parse.ts";

/** A bridge of a host, or a VNet of the SDN, that the token may use. */
export interface Bridge {
  name: string;
  isVnet?: true;
  /** Address of the host on it: `10.20.0.11/23`. */
  cidr?: string;
  /** IPv4 gateway of the host. */
  gateway?: string;
  /** The same of IPv6. */
  cidr6?: string;
  gateway6?: string;
}

/** The bridges of a host that the token may use: Proxmox leaves out those without `SDN.Use` (PVE/API2/Network.pm). */
export async function listBridges(pve: Proxmox, host: string): Promise<Bridge[]> {
  const path = `/nodes/${host}/network`;
  return Row.list(await pve.get(path, { type: "any_bridge" }), path).map((row) => {
    const [cidr, gateway] = [row.maybeText("cidr"), row.maybeText("gateway")];
    const [cidr6, gateway6] = [row.maybeText("cidr6"), row.maybeText("gateway6")];
    return {
      name: row.text("iface"),
      ...(row.maybeText("type") === "vnet" && { isVnet: true }),
      ...(cidr === undefined ? {} : { cidr }),
      ...(gateway === undefined ? {} : { gateway }),
      ...(cidr6 === undefined ? {} : { cidr6 }),
      ...(gateway6 === undefined ? {} : { gateway6 }),
    };
  });
}
