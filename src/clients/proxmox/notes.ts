import type { Proxmox } from "./client.ts";
import { ProxmoxError } from "./errors.ts";
import { Row } from "./parse.ts";
import { vmPath } from "./vms.ts";

/*
 * A line in the notes of a VM (`description`) that marks its cluster as being torn down. Unlike a file on the VM's disk
 * it can be written, read and removed while the VM is off or its guest agent does not answer. Other lines stay.
 */

const lineOf = (since: string): string => `Evergreen: the cluster of this VM is being destroyed, since ${since}`;
const ours = /^Evergreen: the cluster of this VM is being destroyed, since (\S+)\s*$/;

interface Place {
  host: string;
  vmid: number;
}

/** @returns since when, ISO 8601; undefined: the notes have no such line */
export async function readGoingAwayNote(pve: Proxmox, vm: Place): Promise<string | undefined> {
  const { lines } = await readNotes(pve, vm);
  return lines.map((line) => ours.exec(line)?.[1]).find((since) => since !== undefined);
}

/** How often a write is tried that meets one of another process: each time it is looked at what is left to do. */
const tries = 5;

/**
 * @param since ISO 8601, or undefined to remove the line
 * @returns whether anything had to be changed. A line that another process has written meanwhile needs no change
 */
export async function writeGoingAwayNote(pve: Proxmox, vm: Place, since: string | undefined): Promise<boolean> {
  for (let left = tries - 1; ; left -= 1)
    try {
      return await tryWrite(pve, vm, since);
    } catch (error) {
      if (left === 0 || !isConflict(error)) throw error;
      // Of processes that mark a VM side by side each would replace the line of the other.
      if (since !== undefined && (await readGoingAwayNote(pve, vm)) !== undefined) return false;
    }
}

async function tryWrite(pve: Proxmox, vm: Place, since: string | undefined): Promise<boolean> {
  const { lines, digest } = await readNotes(pve, vm);
  const others = lines.filter((line) => !ours.test(line));
  const wanted = since === undefined ? others : [lineOf(since), ...others];
  if (wanted.join("\n") === lines.join("\n")) return false;
  const change = wanted.length > 0 ? { description: wanted.join("\n") } : { delete: "description" };
  await pve.put(`${vmPath(vm)}/config`, { ...change, digest });
  return true;
}

/** Whether the configuration has changed since it was read, as its digest says. */
const isConflict = (error: unknown): boolean =>
  error instanceof ProxmoxError && error.status === 500 && error.reason.includes("detected modified configuration");

async function readNotes(pve: Proxmox, vm: Place): Promise<{ lines: string[]; digest: string }> {
  const path = `${vmPath(vm)}/config`;
  const row = new Row(await pve.get(path), path);
  // Proxmox appends a line break to the notes.
  const text = (row.maybeText("description") ?? "").replace(/\n+$/, "");
  return { lines: text === "" ? [] : text.split("\n"), digest: row.text("digest") };
}
