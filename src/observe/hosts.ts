import { UserErrors, type Problem } from "../runtime/errors.ts";
import type { Config } from "../config/config.ts";
import { placementsOf, type Placement } from "../config/placement.ts";
import type { ObservedCluster } from "./observed-cluster.ts";
import type { Proxmox } from "../clients/proxmox/client.ts";
import { isUnknownHost, ProxmoxError, silentHostOf } from "../clients/proxmox/errors.ts";
import { Row } from "../clients/proxmox/parse.ts";
import type { SlotPlan } from "../domain/model/types.ts";

/** A storage on a Proxmox host of the configuration, as a place for new VMs. */
export interface CandidateHost {
  host: string;
  storage: string;
  /** Undefined: the host does not answer, so no new VM goes there. */
  found: FoundStorage | undefined;
}

/** A storage, as a host reports it. */
export interface FoundStorage {
  freeGiB: number;
  /** It is one and the same on every host. */
  shared: boolean;
  /** A disk takes its full size at once. */
  isThick?: true;
  /** Why it can hold no disk of a VM. */
  unfit?: Pick<Problem, "what" | "todo">;
}

/** Types of storages without thin disks. */
const THICK = ["lvm", "iscsi", "iscsidirect"];

/** A pool, and the VMs that a run makes for it. */
export interface NewVms {
  placement: Placement;
  made: readonly SlotPlan[];
}

/** Proxmox host of each VM that a run makes, by its name. */
export type Places = ReadonlyMap<string, string>;

/** The place of a VM that a run makes. */
export function placeOf(places: Places, name: string): string {
  const host = places.get(name);
  if (host === undefined) throw new Error(`${name} was given no host`);
  return host;
}

/**
 * Reads the state of every storage of node VMs, on every host that it is used on.
 * @throws UserErrors that names the hosts that Proxmox does not know
 */
export async function readCandidateHosts(
  pve: Proxmox,
  config: Pick<Config, "controlPlane" | "pools" | "site">,
): Promise<CandidateHost[]> {
  const unknown: Problem[] = [];
  const wanted = placementsOf(config).flatMap(({ hosts, storage, furtherStorages, where }) =>
    hosts.flatMap((host, index) =>
      [storage, ...furtherStorages].map((name, k) => ({
        ...{ host, storage: name, hostIn: `${where.hosts}[${index}]` },
        storageIn: k === 0 ? where.storage : where.disks,
      })),
    ),
  );
  const [...different] = Map.groupBy(wanted, ({ host, storage }) => `${host} ${storage}`).values();
  const candidates = await Promise.all(
    different
      .flatMap(([first]) => first ?? [])
      .map(async ({ host, storage, hostIn, storageIn }): Promise<CandidateHost> => {
        const path = `/nodes/${host}/storage/${storage}/status`;
        try {
          return { host, storage, found: foundIn(new Row(await pve.get(path), path)) };
        } catch (error) {
          if (isUnknownHost(error)) unknown.push(unknownHost(host, hostIn));
          else if (isUnknownStorage(error)) unknown.push(unknownStorage(host, storage, storageIn));
          else if (silentHostOf(error) === undefined) throw error;
          return { host, storage, found: undefined };
        }
      }),
  );
  if (unknown.length > 0) throw new UserErrors(unknown);
  return candidates;
}

function foundIn(row: Row): FoundStorage {
  const content = row.maybeText("content");
  const unfit =
    content !== undefined && !content.split(",").includes("images")
      ? {
          what: `the storage may hold no disks of VMs: its content is ${content}`,
          todo: "name another storage, or allow disk images there (`pvesm set STORAGE --content images,...`)",
        }
      : row.maybeText("active") === "0"
        ? {
            what: "the storage is not active there: no disk can be made",
            todo: "look at `pvesm status` on that host, or take the host out of the hosts of the pool",
          }
        : undefined;
  return {
    freeGiB: row.number("avail") / 1024 ** 3,
    shared: row.flag("shared"),
    ...(THICK.includes(row.maybeText("type") ?? "") ? { isThick: true as const } : {}),
    ...(unfit && { unfit }),
  };
}

/** No storage has that name, or it is switched off, or restricted to other hosts: Proxmox answers the same. */
function isUnknownStorage(error: unknown): boolean {
  return error instanceof ProxmoxError && error.status === 400 && "storage" in error.errors;
}

function unknownStorage(host: string, storage: string, where: string): Problem {
  return {
    what: `the Proxmox host ${host} has no storage ${storage}: there is none of that name, it is disabled, or other hosts have it alone`,
    where,
    todo: `correct the name (\`pvesm status\` on ${host}), or allow the storage on ${host}`,
  };
}

function unknownHost(host: string, where: string): Problem {
  return {
    what: `the configuration names the Proxmox host ${host}, and Proxmox knows none of that name`,
    where,
    todo: "correct the name (`pvesh get /nodes` lists them); take it out when that host was removed from the Proxmox cluster",
  };
}

/** The hosts of a pool that answer. */
export function hostsThatAnswer(candidates: readonly CandidateHost[], { hosts, storage }: Placement): string[] {
  return hosts.filter((host) => foundOn(candidates, host, storage) !== undefined);
}

function foundOn(candidates: readonly CandidateHost[], host: string, storage: string): CandidateHost["found"] {
  return candidates.find((one) => one.host === host && one.storage === storage)?.found;
}

/** A line for each host that does not answer. */
export function hostWarnings(candidates: readonly CandidateHost[]): string[] {
  const silent = candidates.filter(({ found }) => found === undefined).map(({ host }) => host);
  return [...new Set(silent)].map((host) => `the Proxmox host ${host} does not answer: no new VM goes there`);
}

/**
 * Checks that every VM of this run can be made on its host.
 * @throws UserErrors that names each template that cannot be cloned to its host, and each storage that takes no disks
 */
export function requireHosts(
  candidates: readonly CandidateHost[],
  observed: ObservedCluster,
  places: Places,
  vms: readonly NewVms[],
): void {
  const needed = vms.filter(({ made }) => made.length > 0);
  const lost = needed.filter(({ made }) => made.some(({ name }) => !places.has(name)));
  if (lost.length > 0) throw new UserErrors(lost.map(({ placement }) => nowhere(placement)));
  const disks = needed.flatMap(({ placement, made }) =>
    made.map((slot) => ({
      host: placeOf(places, slot.name),
      storage: placement.storage,
      where: placement.where.hosts,
      spec: slot.generation.spec,
    })),
  );
  const byPlace = Map.groupBy(disks, ({ host, storage, spec }) => `${host} ${storage} ${spec.image}`);
  const problems = [
    ...[...byPlace.values()].flatMap(([one]) =>
      one === undefined ? [] : templateProblems(observed, candidates, { ...one, image: one.spec.image }),
    ),
    ...unfitStorages(candidates, needed, places),
  ];
  if (problems.length > 0) throw new UserErrors(problems);
}

/** Storages that can hold no disk of a new VM, on the host where they should. */
function unfitStorages(candidates: readonly CandidateHost[], vms: readonly NewVms[], places: Places): Problem[] {
  const wanted = vms.flatMap(({ placement: { storage, furtherStorages, where }, made }) =>
    made.flatMap(({ name }) => {
      const host = placeOf(places, name);
      return [
        { host, storage, where: where.storage },
        ...furtherStorages.map((further) => ({ host, storage: further, where: where.disks })),
      ];
    }),
  );
  const [...different] = Map.groupBy(wanted, ({ host, storage }) => `${host} ${storage}`).values();
  return different.flatMap(([one]): Problem[] => {
    const fault = one && foundOn(candidates, one.host, one.storage)?.unfit;
    return fault ? [{ ...fault, where: `${one.where}: ${one.storage} on ${one.host}` }] : [];
  });
}

function nowhere({ hosts, where }: Placement): Problem {
  return {
    what: "no Proxmox host that may get new VMs answers, and this run makes some",
    where: `${where.hosts}: ${hosts.join(", ")}`,
    todo: 'bring one of them back (docs/recovery.md, "A Proxmox host is down"), or give a host that answers a weight above 0 in hostWeights; then run again',
  };
}

/** Whether an image can be cloned to a host. */
export function takesClones(
  observed: ObservedCluster,
  candidates: readonly CandidateHost[],
  one: { host: string; storage: string; image: string },
): boolean {
  return templateProblems(observed, candidates, { ...one, where: "" }).length === 0;
}

/** A linked clone uses its template's storage: a clone on another host needs a storage that both hosts share. */
function templateProblems(
  observed: ObservedCluster,
  candidates: readonly CandidateHost[],
  { host, storage, image, where: path }: { host: string; storage: string; image: string; where: string },
): Problem[] {
  const isSilent = (name: string) => candidates.some((one) => one.host === name && one.found === undefined);
  const copies = observed.images.get(image)?.templates.map((template) => template.host) ?? [];
  if (copies.includes(host)) return [];
  const where = `VMs of ${image} on ${host}; the template is on ${copies.join(", ")}`;
  if (foundOn(candidates, host, storage)?.shared !== true)
    return [
      {
        what: `the template ${image} is not on ${host}, and the storage ${storage} is not shared: no clone of it can be there`,
        where,
        todo: `copy the template to ${host}, with its name and its tags, put it on a shared storage, or take ${host} out of ${path}`,
      },
    ];
  if (copies.some((copy) => !isSilent(copy))) return [];
  return [
    {
      what: `the template ${image} cannot be cloned: the Proxmox host that holds it does not answer`,
      where,
      todo: "bring that host back, or move the template's configuration to another one: its storage is shared",
    },
  ];
}
