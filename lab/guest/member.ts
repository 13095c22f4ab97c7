/** What a server keeps of its etcd member on the disk of its VM, across power cycles. */
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { diskDirectory } from "./context.ts";
import type { GuestContext } from "./context.ts";

/** RKE2's data directory: etcd's data, its snapshots, and the member's name. */
export const dataPath = "/var/lib/rancher/rke2/server/db";
/** File with the member's name, as RKE2 keeps it. */
export const memberFile = `${dataPath}/etcd/name`;
/** File with the CA of the server's cluster. */
export const caFile = "/var/lib/rancher/rke2/server/tls/server-ca.crt";

/** The same directory on the host, where the real etcd uses it. */
export function dataDirectoryOf({ rack, machine }: GuestContext): string {
  return join(diskDirectory(rack.directory, machine.vmid, machine.uuid), "db");
}

export const etcdDirectoryOf = (guest: GuestContext): string => join(dataDirectoryOf(guest), "etcd");

export const snapshotDirectoryOf = (guest: GuestContext): string => join(dataDirectoryOf(guest), "snapshots");

export const hasData = (guest: GuestContext): boolean => existsSync(etcdDirectoryOf(guest));

/** Gives the member a name that no member has had: the Node's name and eight hex digits. */
export function nameMember({ files }: GuestContext, node: string): string {
  const name = `${node}-${randomBytes(4).toString("hex")}`;
  files.put(memberFile, name);
  return name;
}

/** Deletes the member's data, which can never be used again. */
export function forgetMember(guest: GuestContext): void {
  rmSync(etcdDirectoryOf(guest), { recursive: true, force: true });
  guest.files.remove(memberFile);
}

/** Moves the whole data directory aside, with its snapshots. @param name its new name */
export function moveData(guest: GuestContext, name: string): void {
  const directory = dataDirectoryOf(guest);
  if (existsSync(directory)) renameSync(directory, join(dirname(directory), basename(name)));
  for (const path of [memberFile, resetFile]) guest.files.remove(path);
}

/** Exists from a reset until RKE2 has started once: a second reset in a row would replace the first one's data. */
export const resetFile = `${dataPath}/reset-flag`;

/** Makes room for a new directory of etcd's data; existing data is moved beside it. */
export function emptyEtcdDirectory(guest: GuestContext): string {
  const directory = etcdDirectoryOf(guest);
  if (existsSync(directory)) renameSync(directory, `${directory}-old-${Math.round(Date.now() / 1000)}`);
  mkdirSync(dirname(directory), { recursive: true, mode: 0o700 });
  return directory;
}
