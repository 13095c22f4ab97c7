import { SERVER_POOL } from "./config.ts";
import { nodeHardware } from "./node-hardware.ts";
import type { Config } from "./schema.ts";

/** Where the VMs of a pool are made. */
export interface Placement {
  pool: string;
  /** Paths in the configuration: of the pool, or of the site where the pool says nothing of it. */
  where: { hosts: string };
  /** Proxmox hosts, over which new VMs are distributed slot by slot. */
  hosts: readonly string[];
  /** Storage of system disks and cloud-init drives. */
  storage: string;
  /** VMs are full copies of their templates, and else linked clones. */
  fullClones: boolean;
  /** Storages of its further disks, as far as they are other ones. */
  furtherStorages: readonly string[];
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
  return owners.map(({ name, path, hosts, storage = site.storage, fullClones = site.fullClones, ...own }) => ({
    pool: name,
    furtherStorages: (nodeHardware(own, site.defaults).disks ?? []).flatMap((disk) => disk.storage ?? []),
    where: {
      hosts: `${hosts === undefined ? "evergreen:site" : path}.hosts`,
    },
    hosts: hosts ?? site.hosts,
    storage,
    fullClones,
  }));
}
