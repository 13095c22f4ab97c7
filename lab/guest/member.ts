/** What a server keeps of its member of etcd: on the disk of its VM, over power cycles. */
import { randomBytes } from "node:crypto";
import { existsSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { diskDirectory } from "./context.ts";
import type { GuestContext } from "./context.ts";

/** RKE2's directory of data: etcd's, its snapshots, and what it says of itself. */
export const dataPath = "/var/lib/rancher/rke2/server/db";
/** Keeps the member's name, as RKE2 does. */
export const memberFile = `${dataPath}/etcd/name`;
/** The CA of the cluster whose server this is. */
export const caFile = "/var/lib/rancher/rke2/server/tls/server-ca.crt";

/** The same directory on the host, where the real etcd has it. */
export function dataDirectoryOf({ rack, machine }: GuestContext): string {
  return join(diskDirectory(rack.directory, machine.vmid, machine.uuid), "db");
}

export const etcdDirectoryOf = (guest: GuestContext): string => join(dataDirectoryOf(guest), "etcd");

export const snapshotDirectoryOf = (guest: GuestContext): string => join(dataDirectoryOf(guest), "snapshots");

export const hasData = (guest: GuestContext): boolean => existsSync(etcdDirectoryOf(guest));

/** Gives the member a name that no member has had: its Node's, and eight hex digits. */
export function nameMember({ files }: GuestContext, node: string): string {
  const name = `${node}-${randomBytes(4).toString("hex")}`;
  files.put(memberFile, name);
  return name;
}

/** The member's data can never be used again. */
export function forgetMember(guest: GuestContext): void {
  rmSync(etcdDirectoryOf(guest), { recursive: true, force: true });
  guest.files.remove(memberFile);
}

/** Takes the whole directory of data out of RKE2's way, snapshots and all. @param name of what it is called then */
export function moveData(guest: GuestContext, name: string): void {
  const directory = dataDirectoryOf(guest);
  if (existsSync(directory)) renameSync(directory, join(dirname(directory), basename(name)));
  for (const path of [memberFile, resetFile]) guest.files.remove(path);
}

/** Is there from a reset until RKE2 has started once: two resets in a row would take the second one's data. */
export const resetFile = `${dataPath}/reset-flag`;

/** Makes an empty directory for etcd's data; what was there lies beside it. */
export function emptyEtcdDirectory(guest: GuestContext): string {
  const directory = etcdDirectoryOf(guest);
  if (existsSync(directory)) renameSync(directory, `${directory}-old-${Math.round(Date.now() / 1000)}`);
  mkdirSync(dirname(directory), { recursive: true, mode: 0o700 });
  return directory;
}
