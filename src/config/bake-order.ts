import { basename, join, relative } from "node:path";
import type { BakeOrder } from "../domain/images/bake.ts";
import { digestOf, type BaseImage } from "../domain/images/definition.ts";
import { PUBLIC_SOURCES } from "../domain/images/user-data.ts";
import { readBakeShell, shellDigests } from "../runtime/bake-shell.ts";
import { projectRoot } from "../runtime/project.ts";
import { readImageDefinition } from "./image-definition.ts";

/** What is said of a bake beside its definition. */
export type BakeSettings = Pick<BakeOrder, "vmid" | "range" | "place"> &
  Partial<Pick<BakeOrder, "sources" | "evidence">>;

/**
 * The order of a bake, from the folder of a definition. All its paths are relative to the program's folder, so that the
 * state of the engine is the same from every checkout.
 * @param folder of the definition, from the program's folder on
 * @throws UserErrors with every problem of the definition, each with file, line and column
 */
export function bakeOrder(folder: string, { vmid, range, place, sources, evidence }: BakeSettings): BakeOrder {
  const { definition } = readImageDefinition(folder);
  const shell = join(projectRoot, "images", "bake");
  return {
    definition,
    digest: digestOf(definition, shellDigests(readBakeShell(shell))),
    folder: relative(process.cwd(), folder),
    shell: relative(process.cwd(), shell),
    sources: sources ?? PUBLIC_SOURCES,
    vmid,
    range,
    base: `${place.imageStorage}:import/${baseFileOf(definition.base)}`,
    place,
    evidence: evidence ?? "bakes",
  };
}

/** The file of a base image in a storage. Its name has the digest: another image is another file. */
export function baseFileOf({ url, serial, sha256 }: BaseImage): string {
  const series = /\/releases\/([a-z]+)\//.exec(url)?.[1] ?? basename(url).split(/[-.]/)[0] ?? "base";
  return `${series}-${serial}-${sha256.slice(0, 16)}.qcow2`;
}
