import type { Problem } from "../model/problem.ts";

/** Options of a template, as Proxmox lists them: each value is a text. */
export type TemplateOptions = ReadonlyMap<string, string>;

type Fault = Pick<Problem, "what" | "todo">;

/** The CPU type that every clone gets instead of the template's (components/vm.ts). */
const CPU = "x86-64-v2-AES";

/** CPU types that offer a guest nothing that the CPU type of the clones lacks. */
const LESSER_CPUS = ["kvm32", "kvm64", "qemu32", "qemu64", "x86-64-v2", CPU];

/** Options of a network card that limit or redirect traffic. MAC address, model and bridge are set for each clone. */
const OF_CARD: Readonly<Record<string, string>> = {
  tag: "its VLAN; give site.bridge a bridge or a VNet that is in that VLAN",
  trunks: "its VLANs; give site.bridge a bridge that carries them",
  mtu: "its MTU; set it on the bridge that site.bridge names",
  firewall: "Proxmox's firewall; filter in the cluster (network policies) or before the bridge",
  queues: "its queues",
  rate: "its limit of throughput; limit it at the bridge",
  link_down: "its link being down",
};

/**
 * The options of a template that its clones would lose or change silently, and those that would make a clone fail
 * halfway. Cores, memory, bridge, disk size and name servers are set by the configuration, so another value in the
 * template is no loss.
 * @param diskGiB the smallest disk size among its clones
 */
export function templateFaults(options: TemplateOptions, vmid: number, diskGiB: number): Fault[] {
  return [
    ...[...options].flatMap(([name, value]) => optionFaults(name, value, vmid)),
    ...diskFaults(options.get("scsi0"), vmid, diskGiB),
  ];
}

function optionFaults(name: string, value: string, vmid: number): Fault[] {
  const lost = (instead: string, mend: string): Fault[] => [
    { what: `the template has ${name}: ${value}, and its clones have ${instead}`, todo: mend },
  ];
  if (name === "net0") return cardFaults(value, vmid);
  if (/^net\d+$/.test(name))
    return lost("one network card", `take it off: qm set ${vmid} --delete ${name}; nodes have one network`);
  if (name === "cpu" && !LESSER_CPUS.includes(value.replace(/^cputype=/, "")))
    return lost(CPU, `qm set ${vmid} --cpu ${CPU}, where no workload needs more than that type has`);
  if (name === "numa" && value !== "0") return lost("no NUMA", `qm set ${vmid} --numa 0`);
  if (/^numa\d+$/.test(name)) return lost("no NUMA", `qm set ${vmid} --delete ${name}`);
  if (name === "balloon" && value !== "0") return lost("all their memory, always", `qm set ${vmid} --balloon 0`);
  if (name === "scsihw" && !value.startsWith("virtio-scsi"))
    return lost(
      "virtio-scsi-single",
      `qm set ${vmid} --scsihw virtio-scsi-single, and see that the image boots with it`,
    );
  if (name === "protection" && value !== "0")
    return [
      {
        what: `the template has ${name}: ${value}: its clones would have it too, and neither they nor their disks could be removed`,
        todo: `qm set ${vmid} --protection 0; keep the template by the rights on its pool`,
      },
    ];
  return [];
}

function cardFaults(card: string, vmid: number): Fault[] {
  return card.split(",").flatMap((part): Fault[] => {
    const [name = "", value = ""] = part.split("=");
    const meant = OF_CARD[name];
    if (meant === undefined || value === "0") return [];
    const [loss = "", instead = "nodes do without it"] = meant.split("; ");
    return [
      {
        what: `the template's network card has ${part}, and its clones would lose ${loss}`,
        todo: `${instead}; then take it off the template: qm set ${vmid} --net0 virtio,bridge=...`,
      },
    ];
  });
}

function diskFaults(disk: string | undefined, vmid: number, diskGiB: number): Fault[] {
  if (disk === undefined)
    return [
      {
        what: "the template has no disk scsi0, and its clones would boot from a new, empty one",
        todo: `attach its disk as scsi0 (qm disk unlink, qm set ${vmid} --scsi0 VOLUME), or bake the image anew`,
      },
    ];
  const size = gib(/(?:^|,)size=([^,]+)/.exec(disk)?.[1] ?? "");
  if (size === undefined || size <= diskGiB) return [];
  return [
    {
      what: `the template's disk has ${size} GiB, and a clone shall have ${diskGiB}: a disk cannot be made smaller`,
      todo: `set node.diskGiB of the pool to ${Math.ceil(size)} or more, or bake the image with a smaller disk`,
    },
  ];
}

/** Size in GiB of a text such as `10G` or `3584M`; undefined when Proxmox does not state it. */
function gib(size: string): number | undefined {
  const [, number, unit = ""] = /^(\d+(?:\.\d+)?)([KMGT]?)$/.exec(size) ?? [];
  return number === undefined ? undefined : (Number(number) * 1024 ** " KMGT".indexOf(unit || " ")) / 1024 ** 3;
}
