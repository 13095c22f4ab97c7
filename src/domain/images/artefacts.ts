import type { Artefact, Cni, Rke2Artefacts } from "./definition.ts";
import type { Problem } from "../model/problem.ts";

/*
 * Which files of an RKE2 release an image needs, so that its nodes install and start without a network: the program, and
 * archives of container images, each with the list of what is in it. Names as RKE2 publishes them.
 */

/** What a file of a release is. */
export type ArtefactKind =
  | { kind: "program"; architecture: string }
  /** Archive of container images, or the list of its images: `set` is `core`, `canal`, ..., and "" for core and Canal. */
  | { kind: "archive" | "list"; set: string; architecture: string }
  /** The release's own list of digests, one line for each of its files. */
  | { kind: "sums"; architecture: string };

/** What is wrong with one file, or, without a file, with all of them. */
export interface ArtefactFault extends Omit<Problem, "where"> {
  file?: string;
}

/** What a file is by its name; undefined for one that no bake uses. */
export function kindOf(file: string): ArtefactKind | undefined {
  const [, sums] = /^sha256sum-(amd64|arm64)\.txt$/.exec(file) ?? [];
  if (sums !== undefined) return { kind: "sums", architecture: sums };
  const [, images, set = "", architecture = "", form = ""] =
    /^rke2(-images(?:-([a-z]+(?:-[a-z]+)*))?)?\.linux-(amd64|arm64)\.(tar\.gz|tar\.zst|txt)$/.exec(file) ?? [];
  if (architecture === "" || set === "all") return undefined;
  if (images !== undefined) return { kind: form === "txt" ? "list" : "archive", set, architecture };
  return form === "tar.gz" ? { kind: "program", architecture } : undefined;
}

/** Name of the list that belongs to an archive of container images: `rke2-images-core.linux-amd64.txt`. */
export const listOf = (archive: string): string => archive.replace(/\.tar\.(gz|zst)$/, ".txt");

/** The processor architectures that the files are for: one, when nothing is wrong. */
export function architecturesOf(artefacts: readonly Artefact[]): string[] {
  const found = artefacts.flatMap(({ file }) => kindOf(file)?.architecture ?? []);
  return [...new Set(found)].toSorted();
}

/** What an installation without a network would lack, or could not be sure of. */
export function artefactFaults({ artefacts }: Pick<Rke2Artefacts, "artefacts">): ArtefactFault[] {
  const files = artefacts.map(({ file }) => ({ file, its: kindOf(file) }));
  const unused = files.filter(({ its }) => its === undefined);
  return [
    ...unused.map(({ file }) => ({
      file,
      what: `${file} is no file of a release that a bake uses`,
      todo: "remove it: a bake takes rke2.linux-ARCH.tar.gz, rke2-images-*.linux-ARCH.tar.zst with their .txt, and sha256sum-ARCH.txt",
    })),
    ...mixedFaults(architecturesOf(artefacts)),
    ...missingFaults(files.map(({ its }) => its)),
    ...doubleFaults(artefacts),
    ...listFaults(artefacts),
  ];
}

function mixedFaults(architectures: readonly string[]): ArtefactFault[] {
  if (architectures.length < 2) return [];
  return [
    {
      what: `the artefacts are for ${architectures.join(" and ")}, and an image has one architecture`,
      todo: "keep those of the architecture of the base image",
    },
  ];
}

function missingFaults(kinds: readonly (ArtefactKind | undefined)[]): ArtefactFault[] {
  const hasCore = kinds.some((its) => its?.kind === "archive" && (its.set === "" || its.set === "core"));
  return [
    ...(kinds.some((its) => its?.kind === "program")
      ? []
      : [{ what: "no artefact has the programs of RKE2", todo: "add rke2.linux-ARCH.tar.gz with its digest" }]),
    ...(hasCore
      ? []
      : [
          {
            what: "no artefact has the container images of RKE2 itself: joins would pull them",
            todo: "add rke2-images-core.linux-ARCH.tar.zst and the archive of the CNI, or rke2-images.linux-ARCH.tar.zst, each with its list",
          },
        ]),
  ];
}

const archivesOf = (artefacts: readonly Artefact[]): { file: string; set: string }[] =>
  artefacts.flatMap(({ file }) => {
    const its = kindOf(file);
    return its?.kind === "archive" ? [{ file, set: its.set }] : [];
  });

/** Container images that two archives have: which of them counts would be chance. */
function doubleFaults(artefacts: readonly Artefact[]): ArtefactFault[] {
  const archives = archivesOf(artefacts);
  const hasWhole = archives.some(({ set }) => set === "");
  return archives.flatMap(({ file, set }, index) => {
    const same = archives.slice(0, index).find((one) => one.set === set);
    const isPart = hasWhole && (set === "core" || set === "canal");
    if (same === undefined && !isPart) return [];
    return [
      {
        file,
        what: `${file} has the container images of ${same?.file ?? "rke2-images once more"}`,
        todo: "keep one of them",
      },
    ];
  });
}

/** The plugins for the network of pods whose container images are in no archive. */
export function pluginsWithoutImages({ artefacts, cni }: Pick<Rke2Artefacts, "artefacts" | "cni">): Cni[] {
  const sets = archivesOf(artefacts).map(({ set }) => set);
  const has = (plugin: Cni): boolean =>
    plugin === "none" || sets.includes(plugin) || (plugin === "canal" && sets.includes(""));
  return cni.filter((plugin) => !has(plugin));
}

/**
 * An archive without a list cannot be compared with what it should hold. The digest of a list may be here, or in the
 * release's sums when the digest of those is here.
 */
function listFaults(artefacts: readonly Artefact[]): ArtefactFault[] {
  const files = artefacts.map(({ file }) => file);
  const archives = archivesOf(artefacts).map(({ file }) => file);
  const hasSums = files.some((file) => kindOf(file)?.kind === "sums");
  const bare = hasSums ? [] : archives.filter((archive) => !files.includes(listOf(archive)));
  const lone = files.filter((file) => kindOf(file)?.kind === "list" && !archives.some((one) => listOf(one) === file));
  return [
    ...bare.map((file) => ({
      file,
      what: `${file} comes without its list, and what is in it could not be compared with anything`,
      todo: `add ${listOf(file)}, or sha256sum-ARCH.txt of the release, which has the digests of all lists`,
    })),
    ...lone.map((file) => ({
      file,
      what: `${file} is the list of an archive that is not among the artefacts`,
      todo: "add the archive, or remove the list",
    })),
  ];
}
