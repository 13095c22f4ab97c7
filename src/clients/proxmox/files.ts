/** Files of a storage: cloud images (content `import`) and CDs (content `iso`). */
import { createHash } from "node:crypto";
import { Deadline } from "../../runtime/deadline.ts";
import type { Proxmox, UploadedFile } from "./client.ts";
import { Row } from "./parse.ts";
import { awaitTask } from "./task.ts";

/** A storage as a Proxmox host sees it. */
export interface StorageAt {
  host: string;
  storage: string;
}

export interface StoredFile {
  /** Id of the volume: `images:iso/bake.iso`. */
  volume: string;
  /** In bytes, as the list of the storage says. */
  bytes: number;
}

/** Seconds for the upload of a CD, or the removal of a file. */
const fileSeconds = 300;

const pathOf = ({ host, storage }: StorageAt): string => `/nodes/${host}/storage/${storage}`;

/**
 * Lists the files of a kind.
 * @throws ProxmoxError when the token may see none of the storage (403), or the storage is none of that host's (500)
 */
export async function listFiles(pve: Proxmox, at: StorageAt, content: "iso" | "import"): Promise<StoredFile[]> {
  const path = `${pathOf(at)}/content`;
  const rows = Row.list(await pve.get(path, { content }), path);
  return rows.map((row) => ({ volume: row.text("volid"), bytes: row.number("size") }));
}

/**
 * Puts a CD into a storage, which compares its digest. A file of that name is written over.
 * @returns its volume's id
 * @throws TaskError when the storage has no room
 */
export async function putCd(pve: Proxmox, at: StorageAt, file: UploadedFile, stop?: AbortSignal): Promise<string> {
  const checksum = createHash("sha256").update(file.bytes).digest("hex");
  const fields = { content: "iso", "checksum-algorithm": "sha256", checksum };
  const upid = await pve.sendFile(`${pathOf(at)}/upload`, fields, file);
  await awaitTask(pve, upid, new Deadline(`the upload of ${file.name}`, fileSeconds, stop));
  return `${at.storage}:iso/${file.name}`;
}

/** Removes a file. One that is not there any more is no error. */
export async function removeFile(pve: Proxmox, at: StorageAt, volume: string, stop?: AbortSignal): Promise<void> {
  const upid = await pve.delete(`${pathOf(at)}/content/${encodeURIComponent(volume)}`);
  await awaitTask(pve, upid, new Deadline(`the removal of ${volume}`, fileSeconds, stop));
}
