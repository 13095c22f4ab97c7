/** What the stages of a bake have in common: what they act on, and how one of them fails. */
import type { Web } from "../proxmox/data-centre.ts";
import type { GuestFiles } from "./files.ts";

/** Where a bake lies in the guest (src/domain/images/stages.ts). */
export const bakeDirectory = "/run/evergreen-bake";

export interface StageRun {
  files: GuestFiles;
  web: Web;
  /** False: the network card has another address than the seed configures. */
  hasNetwork: boolean;
}

/** A stage of a bake or of its sealing. @returns its output @throws StageFailed */
export type Stage = (run: StageRun) => string[];

/** A command of a stage that failed, as the shell traced it. */
export class StageFailed extends Error {
  override readonly name = "StageFailed";
  readonly code: number;
  readonly output: string[];

  /** @param command is the message */
  constructor(command: string, code: number, output: string[]) {
    super(command);
    this.code = code;
    this.output = output;
  }
}

/** A stage's own refusal (images/bake/lib.sh). */
export function refuse(why: string): StageFailed {
  return new StageFailed(`refuse '${why}'`, 1, [`evergreen: ${why}`]);
}

/** The lines of one of the definition's lists. */
export function entries({ files }: StageRun, list: string): string[] {
  return files
    .text(`${bakeDirectory}/lists/${list}`)
    .split("\n")
    .filter((line) => line.trim() !== "");
}

/** @throws StageFailed when the settings of the bake do not have it, as a shell that reads an unset variable */
export function setting({ files }: StageRun, name: string): string {
  const text = files.text(`${bakeDirectory}/settings`);
  const quoted = new RegExp(`^${name}='(.*)'$`, "m").exec(text)?.[1];
  if (quoted === undefined)
    throw new StageFailed(`. ${bakeDirectory}/settings`, 2, [`sh: 1: ${name}: parameter not set`]);
  return quoted.replaceAll("'\\''", "'");
}

/** Downloads a file. @throws StageFailed in curl's words */
export function download(run: StageRun, url: string, to: string): Buffer {
  const failed = (code: number, why: string) =>
    new StageFailed(`curl --fail --silent --show-error --location --output ${to} ${url}`, code, [
      `curl: (${code}) ${why}`,
    ]);
  const { hostname } = new URL(url);
  if (!run.hasNetwork) throw failed(6, `Could not resolve host: ${hostname}`);
  const found = run.web(url);
  if (found === undefined) throw failed(7, `Failed to connect to ${hostname} port 443: Connection refused`);
  if (typeof found === "string") throw failed(22, `The requested URL returned error: ${found.split(" ")[0] ?? ""}`);
  return found.data ?? Buffer.alloc(0);
}
