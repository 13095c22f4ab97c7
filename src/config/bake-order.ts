import { basename, join, relative, resolve } from "node:path";
import type { BakeOrder } from "../domain/images/bake.ts";
import { digestOf, templateNameOf, type BaseImage, type ImageDefinition } from "../domain/images/definition.ts";
import { PUBLIC_SOURCES } from "../domain/images/user-data.ts";
import { readBakeShell, shellDigests } from "../runtime/bake-shell.ts";
import { UserError, UserErrors, type Problem } from "../runtime/errors.ts";
import { projectRoot } from "../runtime/project.ts";
import { readImageDefinition } from "./image-definition.ts";
import { findImage, inspectImages } from "./images.ts";
import type { Config } from "./schema.ts";

/** An image that a stack bakes itself. */
export interface StackBake {
  bake: BakeOrder;
  /** VMID of the clone that proves it. */
  proofVmid: number;
}

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

/**
 * The orders of the images that a stack bakes itself.
 * @param project folder of the project: relative folders of the configuration begin there
 * @throws UserErrors with every problem of their definitions, or when there is no definition of a name
 */
export function stackBakes({ images, site }: Pick<Config, "images" | "site">, project: string): StackBake[] {
  if (images?.bakes === undefined) return [];
  const { images: wanted, range, place: given, sources, evidence } = images.bakes;
  const { storage = site.storage, bridge = site.bridge } = given;
  const place = { ...given, pool: site.templatePool, storage, bridge };
  const known = inspectImages(resolve(project, images.definitions));
  const problems: Problem[] = [];
  const orders = wanted.flatMap(({ image, vmid, proofVmid, host }, i): StackBake[] => {
    const where = `evergreen:images.bakes.images[${i}].image`;
    try {
      const { folder, definition } = findImage(known, image);
      if (templateNameOf(definition) !== image) throw new UserError(notOfVersion(image, definition, where));
      const own = host === undefined ? place : { ...place, host };
      const settings = { vmid, range, place: own, evidence, ...(sources && { sources }) };
      const bake = { ...bakeOrder(folder, settings), ...(host === undefined ? {} : { onHost: host }) };
      requireRoomForOrder(bake, where);
      return [{ bake, proofVmid }];
    } catch (error) {
      if (error instanceof UserErrors) problems.push(...error.problems);
      else if (error instanceof UserError) problems.push({ ...error.problem, where });
      else throw error;
      return [];
    }
  });
  if (problems.length > 0) throw new UserErrors(problems);
  return orders;
}

const notOfVersion = (image: string, definition: ImageDefinition, where: string): Problem => ({
  what: `${image} is no image of a definition: the version there is ${definition.version}`,
  where,
  todo: `name ${templateNameOf(definition)}, or make a definition of that version (npx evergreen image new)`,
});

/** Most characters of an order: a process takes 128 KiB in one variable of its environment. */
const LARGEST_ORDER = 120_000;

/** @param where the definition is named, for a message @throws UserErrors when no step can be told of the bake */
export function requireRoomForOrder(order: object, where: string): void {
  const { length } = JSON.stringify(order);
  if (length <= LARGEST_ORDER) return;
  throw new UserErrors([
    {
      what: `the definition names so many files that no step can be told of them: ${length} characters`,
      where,
      todo: "make a package, or an archive that a script unpacks, of files that belong together",
    },
  ]);
}

/** The file of a base image in a storage. Its name has the digest: another image is another file. */
export function baseFileOf({ url, serial, sha256 }: BaseImage): string {
  const series = /\/releases\/([a-z]+)\//.exec(url)?.[1] ?? basename(url).split(/[-.]/)[0] ?? "base";
  return `${series}-${serial}-${sha256.slice(0, 16)}.qcow2`;
}
