import { UserErrors, type Problem } from "../runtime/errors.ts";
import { templateOf, type ObservedCluster } from "./observed-cluster.ts";
import { placeOf, type Places } from "./hosts.ts";
import { listBridges } from "../clients/proxmox/bridges.ts";
import type { Proxmox } from "../clients/proxmox/client.ts";
import { ProxmoxError } from "../clients/proxmox/errors.ts";
import {
  isCustomCpu,
  neededForCards,
  neededForCpu,
  neededToClone,
  permissionProblems,
  readRights,
  readVersion,
  type Need,
} from "../clients/proxmox/permissions.ts";
import { Row } from "../clients/proxmox/parse.ts";
import type { Placement } from "../config/placement.ts";
import { drivesOf, hardwareOf, type TemplateOptions } from "../domain/images/hardware.ts";
import { cloneHardware, type NetworkCard, type TemplateHardware } from "../domain/model/hardware.ts";
import { boundFaults, templateFaults } from "../domain/images/template.ts";
import type { NodeSpec, SlotPlan } from "../domain/model/types.ts";

/** What clones keep of their templates, by the template's VMID. */
export type Templates = ReadonlyMap<number, TemplateHardware>;

/** What was read of templates. */
export interface ReadTemplates {
  /** Their options as Proxmox has them, by VMID. */
  options: ReadonlyMap<number, TemplateOptions>;
  hardware: Templates;
  /** Disks beside the system disk, by the template's VMID. */
  drives: ReadonlyMap<number, readonly Drive[]>;
  /** What the token needs to clone them, beside the rights on storages and networks of the configuration. */
  needs: readonly Need[];
}

/** A disk of a template beside its system disk. */
export interface Drive {
  storage: string;
  sizeGiB: number;
}

/** A VM that a run makes. */
export interface Clone {
  spec: NodeSpec;
  template: { vmid: number; host: string };
  /** Proxmox host that it is made on. */
  host: string;
  placement: Pick<Placement, "storage" | "fullClones">;
}

export function clonesOf(
  observed: ObservedCluster,
  places: Places,
  { placement, made }: { placement: Clone["placement"]; made: readonly SlotPlan[] },
): Clone[] {
  return made.map(({ generation: { spec }, name }) => {
    const host = placeOf(places, name);
    return { spec, placement, host, template: templateOf(observed, spec.image, host) };
  });
}

/**
 * Reads what clones keep of their templates. Only the templates that this run clones are read: an older template is not
 * needed any more.
 * @param planned options of templates that this run makes first, by VMID
 * @throws UserErrors that names what a clone would lose, or what would fail
 */
export async function readTemplates(
  pve: Proxmox,
  clones: readonly Clone[],
  planned: ReadonlyMap<number, TemplateOptions> = new Map(),
): Promise<ReadTemplates> {
  const problems: Problem[] = [];
  const needs: Need[] = [];
  const drives = new Map<number, Drive[]>();
  const configs = new Map<number, TemplateOptions>();
  const byTemplate = Map.groupBy(clones, ({ template }) => template.vmid);
  const read = [...byTemplate].map(async ([vmid, alike]): Promise<[number, TemplateHardware][]> => {
    const [first] = alike;
    if (first === undefined) return [];
    const { spec, template } = first;
    const path = `/nodes/${template.host}/qemu/${vmid}/config`;
    const options = planned.get(vmid) ?? new Row(await pve.get(path), path).texts();
    const where = `template ${spec.image}, VM ${vmid} on ${template.host}`;
    const wanted = alike.map((clone) => ({ ...clone.spec, ...clone.placement }));
    const faults = [...templateFaults(options, vmid, wanted), ...(await findBound(pve, options, alike))];
    problems.push(...faults.map((fault) => ({ ...fault, where })));
    needs.push(...alike.flatMap(({ placement }) => neededToClone(options, vmid, placement)));
    const further = drivesOf(options).filter(
      ({ name, isCdrom }) => !isCdrom && /^(?!scsi0$)(scsi|ide|sata|virtio)\d/.test(name),
    );
    drives.set(vmid, further);
    configs.set(vmid, options);
    return [[vmid, hardwareOf(options)]];
  });
  const found = await Promise.all(read);
  if (problems.length > 0) throw new UserErrors(problems);
  return { options: configs, hardware: new Map(found.flat()), drives, needs };
}

/** What keeps clones on the host of their template. @param alike clones of it */
async function findBound(
  pve: Proxmox,
  options: TemplateOptions,
  alike: readonly Clone[],
): Promise<ReturnType<typeof boundFaults>> {
  const [first] = alike;
  const hosts = new Set(alike.map(({ host }) => host).filter((host) => host !== first?.template.host));
  if (first === undefined || hosts.size === 0) return [];
  const storages = [...new Set(drivesOf(options).map(({ storage }) => storage))];
  const own = storages.map(async (name): Promise<string[]> => {
    const path = `/nodes/${first.template.host}/storage/${name}/status`;
    try {
      return new Row(await pve.get(path), path).flag("shared") ? [] : [name];
    } catch (error) {
      // The provider asks the same before it clones.
      if (error instanceof ProxmoxError && error.status === 403) return [name];
      throw error;
    }
  });
  return boundFaults(options, first.template, [...hosts], new Set((await Promise.all(own)).flat()));
}

/**
 * Checks that the token may clone templates and connect the clones, and that the networks of these are on their hosts.
 * @param bridge of the configuration, for the first card of a clone whose networks are not configured
 * @throws UserErrors that names each right that is missing, and each network that a host has not
 */
export async function requireClonable(
  pve: Proxmox,
  templates: Pick<ReadTemplates, "hardware" | "needs">,
  clones: readonly Clone[],
  bridge: string,
): Promise<void> {
  const zones = new Map(
    clones.flatMap(({ spec }) => (spec.hardware?.networks ?? []).map((card) => [card.bridge, card.zone])),
  );
  // The configuration may name the zone of a VNet on one card, and a template be on it too.
  const inZone = (card: NetworkCard): NetworkCard => {
    const zone = card.zone ?? zones.get(card.bridge);
    return { ...card, ...(zone !== undefined && { zone }) };
  };
  const networks = clones.map(({ spec, template, host }) => {
    const hardware = templates.hardware.get(template.vmid) ?? {};
    const own = cloneHardware(hardware, spec.hardware ?? {}, bridge).networks;
    // Proxmox asks for the networks of the template when it is cloned, and for those of the clone afterwards.
    return { host, own, all: [...(hardware.networks ?? []), ...own].map(inZone) };
  });
  const byHost = await Promise.all(
    [...Map.groupBy(networks, ({ host }) => host)].map(async ([host, here]) => ({
      host,
      wanted: new Set(here.flatMap(({ own }) => own.flatMap((card) => card.bridge ?? []))),
      has: await listBridges(pve, host),
    })),
  );
  const vnets = new Set(byHost.flatMap(({ has }) => has.flatMap(({ name, isVnet }) => (isVnet ? [name] : []))));
  const cards = networks.flatMap(({ all }) => all);
  const needs = [
    ...templates.needs,
    ...neededForCards(cards, (name) => vnets.has(name)),
    ...(await findCpuNeeds(pve, templates.hardware, clones)),
  ];
  // The right on the bridge of the configuration was checked at the start.
  const isKnown = needs.every(({ path }) => path.endsWith(`/localnetwork/${bridge}`));
  const lacking = isKnown ? [] : permissionProblems(await readRights(pve), needs);
  if (lacking.length > 0) throw new UserErrors(lacking);
  const missing = byHost.flatMap(({ host, wanted, has }) => {
    const names = new Set(has.map(({ name }) => name));
    return [...wanted].filter((name) => !names.has(name)).map((name) => noBridge(host, name, names));
  });
  if (missing.length > 0) throw new UserErrors(missing);
}

async function findCpuNeeds(pve: Proxmox, hardware: Templates, clones: readonly Clone[]): Promise<Need[]> {
  const types = clones.map(({ spec, template }) => ({
    own: hardware.get(template.vmid)?.cpu?.type,
    wanted: spec.hardware?.cpu?.type,
  }));
  const custom = types.filter(({ own, wanted }) => isCustomCpu(own) || isCustomCpu(wanted));
  if (custom.length === 0) return [];
  const version = await readVersion(pve);
  return custom.flatMap(({ own, wanted }) => neededForCpu(own, wanted, version));
}

function noBridge(host: string, name: string, has: ReadonlySet<string>): Problem {
  return {
    what: `the Proxmox host ${host} has no bridge or VNet ${name}: no VM with it starts there`,
    where: `network of new VMs; ${host} has ${[...has].join(", ") || "none that the token may use"}`,
    todo: `make it there (the host's network, or the SDN), or correct site.bridge or networks, or take ${host} out of the hosts of the pool`,
  };
}
