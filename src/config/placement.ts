import { SERVER_POOL } from "./config.ts";
import { nodeHardware } from "./node-hardware.ts";
import type { Config } from "./schema.ts";
import type { VmSite } from "../domain/model/types.ts";

/** Where the VMs of a pool are made. */
export interface Placement {
  pool: string;
  /** Paths in the configuration: of the pool, or of the site where the pool says nothing of it. */
  where: { hosts: string; storage: string; disks: string };
  /** Proxmox hosts, over which new VMs are distributed slot by slot. */
  hosts: readonly string[];
  /** Storage of system disks and cloud-init drives. */
  storage: string;
  /** VMs are full copies of their templates, and else linked clones. */
  fullClones: boolean;
  /** Tags beside ours, sorted. */
  tags: readonly string[];
  /** Storages of its further disks, as far as they are other ones. */
  furtherStorages: readonly string[];
  /** What Proxmox tells new VMs of IPv6. */
  ipv6?: NonNullable<VmSite["ipv6"]>;
}

/** The placements of the servers and of each pool. */
export function placementsOf({
  controlPlane,
  pools,
  site,
}: Pick<Config, "controlPlane" | "pools" | "site">): Placement[] {
  const owners = [
    { ...controlPlane, name: SERVER_POOL, path: "evergreen:controlPlane" },
    ...pools.map((pool, i) => ({ ...pool, path: `evergreen:pools[${i}]` })),
  ];
  const { storage, fullClones, defaults } = site;
  return owners.map(({ name, path, hosts, ...own }) => ({
    pool: name,
    tags: [...new Set(own.tags ?? defaults.tags)].sort(),
    furtherStorages: (nodeHardware(own, defaults).disks ?? []).flatMap((disk) => disk.storage ?? []),
    where: {
      hosts: `${hosts === undefined ? "evergreen:site" : path}.hosts`,
      storage: `${own.storage === undefined ? "evergreen:site" : path}.storage`,
      disks: `${own.disks === undefined ? "evergreen:site.defaults" : path}.disks`,
    },
    hosts: hosts ?? site.hosts,
    storage: own.storage ?? storage,
    fullClones: own.fullClones ?? fullClones,
    ...ipv6Of(own, site),
  }));
}

type Ipv6Keys = Pick<Config["controlPlane"], "ip6" | "firstAddress6" | "addresses6">;

function ipv6Of({ ip6, firstAddress6, addresses6 }: Ipv6Keys, site: Config["site"]): Pick<VmSite, "ipv6"> {
  if (ip6 !== undefined) return { ipv6: { method: ip6 } };
  if (firstAddress6 === undefined && addresses6 === undefined) return {};
  const { prefixLength6, gateway6 } = site;
  return { ipv6: { prefixLength: prefixLength6, ...(gateway6 === undefined ? {} : { gateway: gateway6 }) } };
}
