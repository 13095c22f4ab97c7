/** What a bake looks at before it makes anything: rights and storages that it would miss only at its end. */
import type { Proxmox } from "../../clients/proxmox/client.ts";
import { Row } from "../../clients/proxmox/parse.ts";
import {
  neededForCards,
  permissionProblems,
  readRights,
  readVersion,
  type Need,
} from "../../clients/proxmox/permissions.ts";
import { imageOf, type BakeOrder } from "../../domain/images/bake.ts";
import type { Problem } from "../../domain/model/problem.ts";
import { UserErrors } from "../../runtime/errors.ts";

/** @throws UserErrors with every privilege that the token lacks, and all that is wrong with the storages */
export async function requireBakeSite(pve: Proxmox, order: BakeOrder): Promise<void> {
  const [version, rights] = await Promise.all([readVersion(pve), readRights(pve)]);
  const lacking = permissionProblems(rights, neededToBake(order, version));
  // Without rights on it, nothing is known of a storage.
  if (lacking.length > 0) throw new UserErrors(lacking);
  const problems = [...(await findDiskProblems(pve, order)), ...(await findFileProblems(pve, order))];
  if (problems.length > 0) throw new UserErrors(problems);
}

/** Kinds of options that a bake gives to its VM, each with its own privilege. */
const OPTIONS = ["CPU", "Memory", "Network", "Options", "Disk", "CDROM", "HWType"];

/**
 * The privileges of the token of bakes: nothing on `/`, and none that a bake does without
 * (test/integration/bake-rights.test.ts takes each of them away).
 */
function neededToBake({ place }: BakeOrder, { major }: { major: number }): Need[] {
  const need = (path: string, why: string, ...anyOf: string[]): Need => ({ path, anyOf, why });
  const [pool, images] = [`/pool/${place.pool}`, `/storage/${place.imageStorage}`];
  const card = { model: "virtio", bridge: place.bridge, ...(place.vlan === undefined ? {} : { vlan: place.vlan }) };
  return [
    need(pool, "the VM of the bake is seen", "VM.Audit"),
    need(pool, "the VM is made, made a template, and removed if it failed", "VM.Allocate"),
    need(pool, "the VM is started and stopped", "VM.PowerMgmt"),
    ...OPTIONS.map((kind) => need(pool, "the VM is configured", `VM.Config.${kind}`)),
    need(pool, "the guest is asked, and sealed", major < 9 ? "VM.Monitor" : "VM.GuestAgent.Unrestricted"),
    need(`/storage/${place.storage}`, "the template gets its disk", "Datastore.AllocateSpace"),
    need(images, "base image and CD are seen", "Datastore.Audit", "Datastore.AllocateSpace"),
    need(images, "the CD is put there", "Datastore.AllocateTemplate"),
    need(images, "the CD is removed again", "Datastore.Allocate"),
    ...neededForCards([card]),
  ];
}

/** What a Proxmox host says of a storage. */
interface FoundStorage {
  type: string;
  content: ReadonlySet<string>;
  freeGiB: number;
}

async function readStorage(pve: Proxmox, host: string, storage: string): Promise<FoundStorage> {
  const path = `/nodes/${host}/storage/${storage}/status`;
  const row = new Row(await pve.get(path), path);
  return {
    type: row.text("type"),
    content: new Set(row.text("content").split(",")),
    freeGiB: Math.floor(row.number("avail") / 1024 ** 3),
  };
}

/** Types of storages on which no disk can be the base of others. */
const WITHOUT_TEMPLATES = new Set(["lvm", "iscsi", "iscsidirect"]);

async function findDiskProblems(pve: Proxmox, order: BakeOrder): Promise<Problem[]> {
  const { definition, place } = order;
  const { type, content, freeGiB } = await readStorage(pve, place.host, place.storage);
  const where = `storage ${place.storage} on ${place.host}, for the bake of ${imageOf(order)}`;
  if (WITHOUT_TEMPLATES.has(type))
    return [
      {
        what: `the storage ${place.storage} cannot have templates: its type is ${type}`,
        where,
        todo: "take one of type lvmthin, zfspool, rbd, or one of files (dir, nfs, cifs)",
      },
    ];
  if (!content.has("images")) return [noContent(place.storage, "images", where)];
  if (freeGiB >= definition.diskGiB) return [];
  return [
    {
      what: `the storage ${place.storage} has ${freeGiB} GiB free, and the template's disk has ${definition.diskGiB} GiB`,
      where,
      todo: "make room there, or take another storage; what a thin storage saves is not known before",
    },
  ];
}

async function findFileProblems(pve: Proxmox, order: BakeOrder): Promise<Problem[]> {
  const { host, imageStorage } = order.place;
  const { content } = await readStorage(pve, host, imageStorage);
  const where = `storage ${imageStorage} on ${host}, for the bake of ${imageOf(order)}`;
  return ["import", "iso"].filter((kind) => !content.has(kind)).map((kind) => noContent(imageStorage, kind, where));
}

const noContent = (storage: string, kind: string, where: string): Problem => ({
  what: `the storage ${storage} does not take the content ${kind}`,
  where,
  todo: `add it (pvesm set ${storage} --content ..., with those that it has), or take another storage`,
});
