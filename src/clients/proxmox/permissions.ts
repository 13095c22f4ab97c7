import type { Problem } from "../../runtime/errors.ts";
import { DRIVE, drivesOf, propertiesOf, volumeOf, type TemplateOptions } from "../../domain/images/hardware.ts";
import type { NetworkCard, NodeHardware } from "../../domain/model/hardware.ts";
import type { Proxmox } from "./client.ts";
import { ProxmoxAnswerError } from "./errors.ts";
import { Row } from "./parse.ts";

/** A privilege that the token needs, with the path that it is needed on. One of `anyOf` is enough. */
export interface Need {
  path: string;
  anyOf: readonly string[];
  /** What the privilege is needed for. */
  why: string;
  /** What to do instead of granting it. */
  instead?: string;
  /** The network of the path may be a VNet: a token that only uses it is not told in which zone it is. */
  inAnyZone?: true;
}

/** The parts of a site on which privileges are granted. */
export interface RightsSite {
  /** Proxmox pool of the node VMs. */
  proxmoxPool: string;
  /** Proxmox pool of the templates. */
  templatePool: string;
  storage: string;
  /** Storages of single pools. */
  storages?: readonly string[];
  bridge: string;
  /** Hardware that the configuration asks for. @default none: everything is as the templates have it */
  hardware?: readonly NodeHardware[];
}

/** Privileges by path; the value says whether a privilege also holds below the path. */
export type Rights = Readonly<Record<string, Readonly<Record<string, boolean>>>>;

/**
 * What a token is for: to read, as a preview and `evergreen status` do, or to replace nodes, which includes reading.
 */
export type Purpose = "read" | "replace";

/** Kinds of options that a clone gets, each with its own privilege. */
const options = ["CPU", "Memory", "Network", "Options", "Disk", "Cloudinit"];

/**
 * All privileges that a token needs for its purpose: nothing on `/`, and no privilege that is unnecessary on every kind
 * of storage. The API schema of Proxmox VE says what each call requires; test/lab/proxmox/least-privilege.test.ts
 * removes each privilege and checks what breaks.
 */
export function neededRights(site: RightsSite, version: { major: number }, purpose: Purpose): Need[] {
  const nodes = `/pool/${site.proxmoxPool}`;
  const templates = `/pool/${site.templatePool}`;
  const storage = `/storage/${site.storage}`;
  const need = (path: string, why: string, ...anyOf: string[]): Need => ({ path, anyOf, why });
  const looking = [
    need(templates, "templates are found", "VM.Audit"),
    need(nodes, "VMs are seen", "VM.Audit"),
    need(
      nodes,
      "servers are known by their pool, and without it the provider loses the pool from its state",
      "Pool.Audit",
    ),
    need(nodes, "the kubeconfig is read through the guest agent", ...agentRight(version, "FileRead")),
  ];
  if (purpose === "read")
    return [
      ...looking,
      ...[site.storage, ...others(site)].map((name) =>
        need(`/storage/${name}`, "free space is compared", "Datastore.Audit", "Datastore.AllocateSpace"),
      ),
    ];
  const writing = agentRight(version, "FileWrite");
  return [
    ...looking,
    need(templates, "templates are cloned", "VM.Clone"),
    need(nodes, "VMs are made and destroyed", "VM.Allocate"),
    need(nodes, "VMs are started and stopped", "VM.PowerMgmt"),
    ...options.map((name) => need(nodes, "clones are configured", `VM.Config.${name}`)),
    need(nodes, "the provider sets and removes the cloud-init drive", "VM.Config.CDROM"),
    need(nodes, "the provider sends hardware options with every clone", "VM.Config.HWType"),
    ...(version.major < 9 ? [] : [need(nodes, "join data is written through the guest agent", ...writing)]),
    need(storage, "disks are allocated", "Datastore.AllocateSpace"),
    need(storage, "the provider reads the disks of clones on LVM-thin, ZFS and Ceph", "Datastore.Audit"),
    ...neededForHardware(site),
  ];
}

/** Storages of pools and of further disks, beside that of the site. */
function others({ storage, storages = [], hardware = [] }: RightsSite): string[] {
  const ofDisks = hardware.flatMap(({ disks = [] }) => disks.flatMap((disk) => disk.storage ?? []));
  return [...new Set([...storages, ...ofDisks])].filter((name) => name !== storage);
}

function neededForHardware(site: RightsSite): Need[] {
  const { bridge, hardware = [{}] } = site;
  const devices = hardware.flatMap((one) => one.devices ?? []);
  const mappings = new Set(devices.map(({ kind, mapping }) => `/mapping/${kind}/${mapping}`));
  return [
    ...neededForCards(hardware.flatMap(({ networks = [{ bridge, model: "virtio" }] }) => networks)),
    ...others(site).flatMap((name) => [allocating(name), reading(name)]),
    ...[...mappings].map(mapped),
  ];
}

const allocating = (storage: string): Need => ({
  path: `/storage/${storage}`,
  anyOf: ["Datastore.AllocateSpace"],
  why: "disks are allocated",
});

const reading = (storage: string): Need => ({
  path: `/storage/${storage}`,
  anyOf: ["Datastore.Audit"],
  why: "the provider reads the disks",
});

const mapped = (path: string): Need => ({ path, anyOf: ["Mapping.Use"], why: "VMs get the mapped device" });

/** Mappings of a host's devices and directories, by the options of a VM that name one. */
const MAPPINGS: Readonly<Record<string, string>> = { hostpci: "pci", usb: "usb", virtiofs: "dir" };

/**
 * What Proxmox asks for when a template is cloned, beside the rights on the clone's own storage and networks
 * (PVE/API2/Qemu.pm, clone_vm). A linked clone has each drive beside that of the template.
 */
export function neededToClone(
  options: TemplateOptions,
  vmid: number,
  { storage, fullClones }: { storage: string; fullClones: boolean },
): Need[] {
  const away = fullClones ? [] : drivesOf(options).filter((drive) => !drive.isCdrom && drive.storage !== storage);
  const mappings = [...options].flatMap(([name, value]) => {
    const [kind = ""] = /^[a-z]+(?=\d+$)/.exec(name) ?? [];
    const given = propertiesOf(value);
    const id = kind === "virtiofs" ? (given.get("dirid") ?? given.get("")) : given.get("mapping");
    const place = MAPPINGS[kind];
    return id === undefined || place === undefined ? [] : [`/mapping/${place}/${id}`];
  });
  const rng = propertiesOf(options.get("rng0") ?? "");
  const isHostsRng = (rng.get("source") ?? rng.get("")) === "/dev/hwrng";
  return [
    ...away.flatMap(({ name, storage: own }) => [allocating(own), ...(isFirmware(name) ? [] : [reading(own)])]),
    ...mappings.map(mapped),
    ...(isHostsRng ? [mapped("/mapping/hwrng")] : []),
    ...hostCds(options, vmid),
  ];
}

/**
 * What a CPU model of the site needs (`custom-...`, PVE/API2/Qemu.pm, $check_cpu_model_access). Since 9.2 that is a right on
 * the model, also for a clone of a template that has it; before, to give a VM another one than it has takes a look at all
 * hosts.
 * @param own CPU type of the template
 * @param wanted that of the configuration; undefined: that of the template
 */
export function neededForCpu(own: string | undefined, wanted: string | undefined, version: { text: string }): Need[] {
  const [major = 0, minor = 0] = version.text.split(/[.-]/).map(Number);
  if (major < 9 || (major === 9 && minor < 2))
    return wanted === undefined || wanted === own || !isCustomCpu(wanted)
      ? []
      : [{ path: "/nodes", anyOf: ["Sys.Audit"], why: `VMs get the CPU model ${wanted}` }];
  return [own, wanted].filter(isCustomCpu).map((type) => ({
    path: `/mapping/cpu/${type.slice(CUSTOM.length)}`,
    anyOf: ["Mapping.Use"],
    why: `VMs get the CPU model ${type}`,
  }));
}

/** How the types of CPU models begin that a site has made itself. */
const CUSTOM = "custom-";

export const isCustomCpu = (type: string | undefined): type is string => type?.startsWith(CUSTOM) === true;

/** CD drives of the template that are those of its host. */
function hostCds(options: TemplateOptions, vmid: number): Need[] {
  const own = [...options].filter(([name, value]) => DRIVE.test(name) && volumeOf(propertiesOf(value)) === "cdrom");
  return own.map(([name]) => ({
    path: "/",
    anyOf: ["Sys.Console"],
    why: `VM ${vmid}, a template, has the CD drive of its host as ${name}`,
    instead: `qm set ${vmid} --${name} none,media=cdrom: the privilege would open a shell on every host`,
  }));
}

const isFirmware = (drive: string): boolean => /^(efidisk|tpmstate)/.test(drive);

/**
 * What the network cards of clones need: Proxmox asks for each when a template is cloned, and again when the clone is
 * configured. A VLAN is a level below its bridge, so a grant on the bridge covers it only with propagation.
 * @param mayBeVnet whether a network without a zone may be a VNet
 */
export function neededForCards(
  cards: readonly NetworkCard[],
  mayBeVnet: (name: string) => boolean = () => true,
): Need[] {
  const needs = cards.flatMap(({ bridge, vlan, trunks = "", zone }): Need[] => {
    if (bridge === undefined) return [];
    const vlans = [vlan ?? "", ...trunks.split(";")].filter((tag) => tag !== "");
    const tails = vlans.length === 0 ? [""] : vlans.map((tag) => `/${tag}`);
    const inAnyZone = zone === undefined && mayBeVnet(bridge);
    return tails.map((tail) => ({
      path: `/sdn/zones/${zone ?? BRIDGES}/${bridge}${tail}`,
      anyOf: ["SDN.Use"],
      why: "VMs are connected to the network",
      ...(inAnyZone && { inAnyZone }),
    }));
  });
  return [...new Map(needs.map((need) => [need.path, need])).values()];
}

/** The zone of bridges, which are in no zone of the SDN. */
const BRIDGES = "localnetwork";

/**
 * Before 9 a single privilege covered all requests to an agent; since then there is one for each kind, and one for all.
 */
function agentRight({ major }: { major: number }, kind: "FileRead" | "FileWrite"): string[] {
  return major < 9 ? ["VM.Monitor"] : [`VM.GuestAgent.${kind}`, "VM.GuestAgent.Unrestricted"];
}

/** The needs that are not met. */
export function missingRights(rights: Rights, needs: readonly Need[]): Need[] {
  return needs.filter(({ path, anyOf, inAnyZone }) => {
    const zones = inAnyZone ? [...zonesIn(rights)] : [BRIDGES];
    const paths = zones.map((zone) => path.replace(`/${BRIDGES}/`, `/${zone}/`));
    return !paths.some((one) => {
      const here = rightsOn(rights, one);
      return anyOf.some((name) => here.has(name));
    });
  });
}

/** The zones that rights name, that of bridges, and one that none names: it has what is handed down to all. */
function zonesIn(rights: Rights): Set<string> {
  const named = Object.keys(rights).flatMap((path) => /^\/sdn\/zones\/([^/]+)/.exec(path)?.[1] ?? []);
  return new Set([BRIDGES, "-", ...named]);
}

/** The privileges on a path: its own entry, or what the nearest listed ancestor propagates. */
function rightsOn(rights: Rights, path: string): Set<string> {
  const own = rights[path];
  if (own !== undefined) return new Set(Object.keys(own));
  for (let at = parent(path); ; at = parent(at)) {
    const above = rights[at];
    if (above !== undefined) return new Set(Object.keys(above).filter((name) => above[name]));
    if (at === "/") return new Set();
  }
}

function parent(path: string): string {
  return path.slice(0, path.lastIndexOf("/")) || "/";
}

/** The token's privileges, as Proxmox reports them to the token. */
export async function readRights(pve: Proxmox): Promise<Rights> {
  const path = "/access/permissions";
  const answer = await pve.get(path);
  if (typeof answer !== "object" || answer === null) throw new ProxmoxAnswerError(path, "no object");
  const flags = (value: unknown): Record<string, boolean> =>
    Object.fromEntries(Object.entries(value ?? {}).map(([name, flag]) => [name, Boolean(Number(flag))]));
  return Object.fromEntries(Object.entries(answer).map(([at, value]) => [at, flags(value)]));
}

/** Version of Proxmox VE, and the name of the lab when it is one: a real Proxmox VE does not report such a field. */
export async function readVersion(pve: Proxmox): Promise<{ major: number; text: string; lab: string | undefined }> {
  const row = new Row(await pve.get("/version"), "/version");
  const text = row.text("version");
  return { major: Number.parseInt(text, 10), text, lab: row.maybeText("evergreen-lab") };
}

/** Every privilege that the token lacks for its purpose, with its path, for a refusal at program start. */
export async function findPermissionProblems(pve: Proxmox, site: RightsSite, purpose: Purpose): Promise<Problem[]> {
  const [version, rights] = await Promise.all([readVersion(pve), readRights(pve)]);
  return permissionProblems(rights, neededRights(site, version, purpose));
}

/** A problem for every privilege that is not there, once for each path. */
export function permissionProblems(rights: Rights, needs: readonly Need[]): Problem[] {
  const missing = missingRights(rights, needs);
  const isFirst = ({ path, anyOf }: Need, index: number): boolean =>
    missing.findIndex((need) => need.path === path && need.anyOf[0] === anyOf[0]) === index;
  return missing.filter(isFirst).map(({ path, anyOf, why, instead }) => ({
    what: `the Proxmox token lacks ${anyOf.join(" or ")} (${why})`,
    where: path,
    todo:
      instead ??
      `give the token a role with ${anyOf[0] ?? ""} on ${path}, with propagation${path.includes(`/${BRIDGES}/`) ? `; a VNet has its zone in place of ${BRIDGES}` : ""}`,
  }));
}
