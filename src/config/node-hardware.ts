import type { NodeHardware } from "../domain/model/hardware.ts";
import type { HardwareConfig } from "./hardware-schema.ts";
import type { Config } from "./schema.ts";

/** The hardware that the configuration asks for: of the servers, then of each pool. */
export function hardwareOfNodes({ controlPlane, pools, site: { defaults } }: Config): NodeHardware[] {
  return [controlPlane, ...pools].map((node) => nodeHardware(node, defaults));
}

/** What a pool says of its hardware, and the defaults of the site where it does not. A list is one value. */
export function nodeHardware(own: HardwareConfig, defaults: HardwareConfig): NodeHardware {
  const { flags, ...processor } = { ...defaults.cpu, ...own.cpu };
  // A set: their order says nothing, so it must not make another generation.
  const cpu = { ...processor, ...(flags && { flags: [...new Set(flags)].toSorted() }) };
  const systemDisk = { ...defaults.systemDisk, ...own.systemDisk };
  const { balloonMiB, networks, disks, devices } = { ...defaults, ...own };
  return {
    ...(Object.keys(cpu).length > 0 ? { cpu } : {}),
    ...(Object.keys(systemDisk).length > 0 ? { systemDisk } : {}),
    ...(balloonMiB === undefined ? {} : { balloonMiB }),
    ...(networks === undefined ? {} : { networks }),
    ...(disks === undefined || disks.length === 0 ? {} : { disks }),
    ...(devices === undefined || devices.length === 0 ? {} : { devices }),
  };
}
