import { z } from "zod";
import { NETWORK_MODELS } from "../domain/images/hardware.ts";

/*
 * The keys of a node's hardware. None has a default: what is not said stays as the template has it.
 */

const change = "New generation.";
const unset = "as the template has it";
const name = (what: string, like: RegExp) => z.string().regex(like, `must be ${what}`);
const whole = (least: number, most: number) => z.int().min(least).max(most);
const flag = (description: string, otherwise = unset) =>
  z.boolean().exactOptional().meta({ description, unset: otherwise, change });

const cpu = z
  .strictObject({
    type: name("a CPU type of Proxmox VE", /^[A-Za-z0-9][\w.-]*$/)
      .exactOptional()
      .meta({
        description: "CPU type, such as `host` or `x86-64-v3`. Every host of the pool needs it.",
        unset: "that of the template, at least `x86-64-v2-AES`",
        change,
      }),
    flags: z
      .array(name("a flag with its sign, such as +aes", /^[+-][a-z0-9_.-]+$/))
      .exactOptional()
      .meta({
        description: "Flags that are added to the CPU type (`+`) or taken from it (`-`). Their order has no meaning.",
        unset,
        change,
      }),
    sockets: whole(1, 16).exactOptional().meta({
      description: "Sockets over which `cores` are divided.",
      unset,
      change,
    }),
    numa: flag("Whether the guest sees the host's NUMA nodes."),
    limit: z.number().min(0.1).max(128).exactOptional().meta({
      description: "CPU time of all cores together, in cores.",
      unset,
      change,
    }),
    units: whole(1, 262_144).exactOptional().meta({
      description: "Weight in the competition for CPU time with other VMs of the host.",
      unset,
      change,
    }),
  })
  .exactOptional()
  .meta({ description: "The processor of each node, beside `cores`.", unset });

const card = z.strictObject({
  bridge: name("the name of a bridge or of a VNet", /^[-_.\w]{1,64}$/).meta({
    description: "Bridge or VNet that the card is connected to, on every host of the pool.",
    change,
  }),
  zone: name("the name of an SDN zone", /^[A-Za-z][A-Za-z0-9]{0,7}$/)
    .exactOptional()
    .meta({
      description: "SDN zone of the VNet: the token needs `SDN.Use` in it.",
      unset: "`localnetwork` for a bridge, and for a VNet any zone in which the token may use it",
      change: "In place.",
    }),
  model: z.enum(NETWORK_MODELS).default("virtio").meta({ description: "Model of the card.", change }),
  vlan: whole(1, 4094).exactOptional().meta({ description: "VLAN tag.", unset: "untagged", change }),
  mtu: whole(1, 65_520)
    .exactOptional()
    .meta({ description: "MTU in bytes; 1: that of the bridge. Only for `virtio`.", unset: "1500", change }),
  queues: whole(1, 64).exactOptional().meta({ description: "Packet queues.", unset: "one", change }),
  rateMBps: z
    .number()
    .min(0.001)
    .exactOptional()
    .meta({ description: "Greatest throughput in MB/s.", unset: "unlimited", change }),
  firewall: z.boolean().default(false).meta({ description: "Whether Proxmox's firewall filters the card.", change }),
});

const diskOptions = (otherwise: { off: string; on: string; mode: string; kind: string }) => ({
  ssd: flag("Whether the guest sees an SSD.", otherwise.off),
  discard: flag("Whether space that the guest frees is freed on the storage.", otherwise.off),
  iothread: flag("Whether the disk has a thread of its own.", otherwise.off),
  cache: z
    .enum(["none", "writethrough", "writeback", "unsafe", "directsync"])
    .exactOptional()
    .meta({ description: "Cache mode of the host.", unset: otherwise.mode, change }),
  aio: z
    .enum(["native", "threads", "io_uring"])
    .exactOptional()
    .meta({ description: "Kind of asynchronous I/O of the host.", unset: otherwise.kind, change }),
  backup: flag("Whether backups of the VM include the disk.", otherwise.on),
});

const disk = z.strictObject({
  name: name("at most 20 letters, digits and dashes", /^[A-Za-z0-9][A-Za-z0-9-]{0,19}$/).meta({
    description:
      "Serial number of the disk: the guest finds it as `/dev/disk/by-id/scsi-0QEMU_QEMU_HARDDISK_<name>`. What is on the disk goes with the node.",
    change,
  }),
  sizeGiB: whole(1, 65_536).meta({ description: "Size in GiB.", change }),
  storage: name("the name of a storage", /^[A-Za-z][\w.-]*$/)
    .exactOptional()
    .meta({ description: "Storage of the disk.", unset: "the storage of the pool", change }),
  ...diskOptions({ off: "`false`", on: "`true`", mode: "`none`", kind: "`io_uring`" }),
});

const device = z.strictObject({
  mapping: name("the name of a resource mapping", /^[A-Za-z][\w-]{1,127}$/).meta({
    description: "Resource mapping of the device; every host of the pool needs an entry in it.",
    change,
  }),
  kind: z.enum(["pci", "usb"]).default("pci").meta({ description: "Kind of the device.", change }),
  pcie: z.boolean().default(false).meta({ description: "Whether a PCI device is a PCIe one; only for `q35`.", change }),
});

/** The hardware keys of the servers, of a pool, and of the defaults of both. */
export const hardware = {
  cpu,
  balloonMiB: z.int().min(0).exactOptional().meta({
    description: "Memory in MiB that the host leaves to a node when it runs short itself; 0: all of it.",
    unset: "as the template has it; all of it where that says nothing",
    change,
  }),
  networks: z.array(card).min(1).max(32).exactOptional().meta({
    description:
      "All network cards. The first one has the node's address; the guest configures the others itself (DHCP, or as the image says).",
    unset: "those of the template, the first one on `evergreen:site.bridge`",
    change,
  }),
  systemDisk: z
    .strictObject(diskOptions({ off: unset, on: unset, mode: unset, kind: unset }))
    .exactOptional()
    .meta({ description: "Options of the system disk; its size is `diskGiB`.", unset }),
  disks: z.array(disk).max(30).exactOptional().meta({
    description:
      "Further disks, empty when the node is made: docs/sites.md shows how an image formats and mounts one. Those of the template stay as they are.",
    unset: "none but those of the template",
    change,
  }),
  devices: z.array(device).max(14).exactOptional().meta({
    description: "Devices of the host, by resource mapping.",
    unset: "none but those of the template",
    change,
  }),
};

/** What the keys above say of a node. */
export type HardwareConfig = z.output<z.ZodObject<typeof hardware>>;
