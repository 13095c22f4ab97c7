import type { Problem } from "../domain/model/problem.ts";
import type { NodeHardware } from "../domain/model/hardware.ts";

/** A pool of agents, or the servers, with the defaults of the site filled in. */
export interface SizedNode {
  path: string;
  cores: number;
  memoryMiB: number;
  hardware: NodeHardware;
}

/** What is wrong with the hardware of a pool beyond single values. */
export function hardwareProblems({ path, cores, memoryMiB, hardware }: SizedNode): Problem[] {
  const { cpu, balloonMiB = 0, networks = [], disks = [], devices = [], systemDisk = {} } = hardware;
  const allDisks = [
    { key: "systemDisk", ...systemDisk },
    ...disks.map((disk, i) => ({ ...disk, key: `disks[${i}]`, cache: disk.cache ?? "none" })),
  ];
  const sockets = cpu?.sockets ?? 1;
  const problem = (key: string, what: string, todo: string): Problem => ({ what, where: `${path}.${key}`, todo });
  const names = disks.map(({ name }) => name);
  const { flags = [] } = cpu ?? {};
  const added = flags.flatMap((flag) => (flag.startsWith("+") ? [flag.slice(1)] : []));
  return [
    ...(cores % sockets === 0
      ? []
      : [problem("cpu.sockets", `${cores} cores cannot be divided over ${sockets} sockets`, "change one of them")]),
    ...added
      .filter((flag) => flags.includes(`-${flag}`))
      .map((flag) => problem("cpu.flags", `the flag ${flag} is added and taken away`, "remove one of the two")),
    ...(balloonMiB <= memoryMiB
      ? []
      : [
          problem(
            "balloonMiB",
            `${balloonMiB} MiB are more than the memory of ${memoryMiB} MiB`,
            "lower it: it is what a node keeps when its host runs short",
          ),
        ]),
    ...networks.flatMap(({ model, mtu }, i) =>
      mtu === undefined || model === "virtio"
        ? []
        : [
            problem(
              `networks[${i}].mtu`,
              `a card of the model ${model} has no MTU in Proxmox VE`,
              "use the model virtio, or set the MTU in the guest",
            ),
          ],
    ),
    ...allDisks.flatMap(({ key, aio, cache }) =>
      aio !== "native" || cache === undefined || ["none", "directsync"].includes(cache)
        ? []
        : [
            problem(
              `${key}.aio`,
              `native I/O needs the cache mode none or directsync, and this one is ${cache}: no VM with it starts`,
              "use io_uring or threads, or another cache mode",
            ),
          ],
    ),
    ...disks.flatMap(({ name }, i) =>
      names.indexOf(name) === i
        ? []
        : [problem(`disks[${i}].name`, `two disks are called ${name}`, "give each disk a name of its own")],
    ),
    ...devices.flatMap(({ kind, pcie }, i) =>
      kind === "usb" && pcie
        ? [problem(`devices[${i}].pcie`, "a USB device is no PCIe device", "remove the key, or make the kind pci")]
        : [],
    ),
  ];
}
