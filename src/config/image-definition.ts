import { basename, relative, resolve } from "node:path";
import { templateNameOf, type ImageDefinition, type ImageSource } from "../domain/images/definition.ts";
import { UserErrors, type Problem } from "../runtime/errors.ts";
import { keyFindings } from "./image-checks.ts";
import { contentsOf, IMAGE_FILE, imageFilesOf, pathInImage, type FileFault, type FolderEntry } from "./image-files.ts";
import { readFolder } from "./image-folder.ts";
import { imageSchema, serialOf, type ImageKeys } from "./image-schema.ts";
import { schemaFindings, type Finding } from "./messages.ts";
import { secretIn } from "./secrets.ts";
import { placeIn, readYaml, type Place, type YamlSource } from "./yaml-source.ts";

/**
 * Reads the folder of a definition.
 * @param folder `images/<name>` or `images/<name>-<version>`
 * @throws UserErrors with every problem, each with file, line and column
 */
export function readImageDefinition(folder: string): ImageSource {
  const read = inspectImageDefinition(folder);
  if ("problems" in read) throw new UserErrors(read.problems);
  return read;
}

/** The definition in a folder, or all that keeps it from being one. */
export function inspectImageDefinition(folder: string): ImageSource | { problems: Problem[] } {
  const { entries, faults } = readFolder(folder);
  // Without its keys, which are then among the faults, nothing else can be said of a definition.
  const hasKeys = !faults.some(({ file }) => file === IMAGE_FILE);
  const read = hasKeys ? definitionOf(basename(resolve(folder)), entries) : { faults: [] };
  const all: DefinitionFault[] = [...faults, ...("faults" in read ? read.faults : [])];
  if (all.length === 0 && "definition" in read) return read;
  const shown = relative(process.cwd(), folder) || ".";
  return { problems: all.map((fault) => problemOf(shown, fault)) };
}

/** What is wrong in a definition: with a key of image.yaml, or with another file. */
export interface DefinitionFault extends FileFault {
  /** The key, as in `rke2.artefacts`. */
  key?: string;
}

function problemOf(folder: string, { file, place, key, what, todo }: DefinitionFault): Problem {
  const at = place === undefined ? "" : `:${place.line}:${place.column}`;
  return { what, where: `${folder}/${file}${at}${key === undefined ? "" : ` (${key})`}`, todo };
}

const START: Place = { line: 1, column: 1 };
const NAME = /^[a-z0-9]+([.-][a-z0-9]+)*$/;
/** The first label of the template's name, which takes the major version in, is a label of DNS. */
const LONGEST_NAME = 50;

/** Whether a text can be the name of a definition, and with its version that of a template. */
export const isName = (text: string): boolean => NAME.test(text) && text.length <= LONGEST_NAME;

/** A folder's name as a definition's: `ubuntu-24-04-rke2-v1.1.0` has the name `ubuntu-24-04-rke2` and this version. */
export function nameOf(folder: string): { name: string; version: string | undefined } {
  const [, name = "", version] = /^(.*?)(?:-(v\d+\.\d+\.\d+))?$/.exec(folder) ?? [];
  return { name, version };
}

/**
 * The definition that a folder holds.
 * @param folder its name
 * @param entries all that lies in it
 */
export function definitionOf(
  folder: string,
  entries: readonly FolderEntry[],
): ImageSource | { faults: DefinitionFault[] } {
  const own = entries.find(({ path }) => path === IMAGE_FILE);
  if (own === undefined)
    return {
      faults: [
        {
          file: IMAGE_FILE,
          place: START,
          what: `the folder ${folder} has no ${IMAGE_FILE}, and is no definition of an image`,
          todo: "npx evergreen image new NAME --from NAME makes one of another",
        },
      ],
    };
  const source = readSafely(own.bytes);
  if (!("value" in source)) return { faults: [...source, ...imageFilesOf(entries, {}).faults] };
  const read = imageSchema.safeParse(source.value);
  if (!read.success) {
    const findings = schemaFindings(imageSchema, read.error, source.value);
    return { faults: [...firstOfEach(placed(findings, source)), ...imageFilesOf(entries, {}).faults] };
  }
  const { faults, ...files } = imageFilesOf(entries, read.data.modes);
  const definition: ImageDefinition = { ...settingsOf(folder, read.data), ...files };
  const findings = [
    ...nameFindings(folder, definition),
    ...keyFindings(definition),
    ...modeFindings(read.data, entries),
  ];
  const all = [...placed(findings, source), ...faults];
  return all.length > 0 ? { faults: all } : { definition, contents: contentsOf(entries) };
}

/** The file as YAML, unless it has a secret: then no message may quote it. */
function readSafely(bytes: Uint8Array): YamlSource | DefinitionFault[] {
  const text = Buffer.from(bytes).toString("latin1");
  const secret = secretIn(text);
  if (secret !== undefined)
    return [
      {
        file: IMAGE_FILE,
        place: placeIn(text, secret.offset),
        what: `the file has what looks like ${secret.kind}, and everybody who sees the repository can read it`,
        todo: "take it out: a definition needs no secret",
      },
    ];
  const source = readYaml(bytes);
  return "value" in source ? source : source.map((fault) => ({ ...fault, file: IMAGE_FILE }));
}

/** The findings with their places in the file. */
function placed(findings: readonly Finding[], source: YamlSource): DefinitionFault[] {
  return findings.map(({ path, what, todo, isOfKey = false }) => ({
    file: IMAGE_FILE,
    place: isOfKey ? source.placeOfKey(path) : source.placeOfValue(path),
    ...(path.length > 0 ? { key: keyOf(path) } : {}),
    what,
    todo,
  }));
}

/** For each key the first fault: what a schema says after it follows from it. */
const firstOfEach = (faults: readonly DefinitionFault[]): DefinitionFault[] =>
  faults.filter(({ key }, index) => faults.findIndex((one) => one.key === key) === index);

const keyOf = (path: readonly PropertyKey[]): string =>
  path
    .map((part) => (typeof part === "number" ? `[${part}]` : `.${String(part)}`))
    .join("")
    .replace(/^\./, "");

type Settings = Omit<ImageDefinition, "files" | "scripts" | "tests">;

function settingsOf(folder: string, keys: ImageKeys): Settings {
  const { version, base, archiveDate, packages, hold, diskGiB, rke2, kernel, sysctl, hardening, ssh, services } = keys;
  return {
    name: nameOf(folder).name,
    version,
    base: { ...base, serial: serialOf(base.url) ?? "" },
    archiveDate,
    packages,
    hold,
    diskGiB,
    rke2: { ...rke2, artefacts: Object.entries(rke2.artefacts).map(([file, sha256]) => ({ file, sha256 })) },
    kernel,
    sysctl: Object.fromEntries(Object.entries(sysctl).map(([name, value]) => [name, String(value)])),
    hardening,
    ssh,
    services,
  };
}

function nameFindings(folder: string, definition: ImageDefinition): Finding[] {
  const { name, version } = nameOf(folder);
  const path = ["version"];
  if (!isName(name))
    return [
      {
        path,
        what: `the folder ${folder} has a name that no template can have`,
        todo: `rename it: small letters and digits, with single dots and dashes between them, at most ${LONGEST_NAME} characters, and perhaps the version`,
      },
    ];
  if (version === undefined || version === definition.version) return [];
  return [
    {
      path,
      what: `the folder says ${version}, and the version is ${definition.version}`,
      todo: `rename the folder to ${templateNameOf(definition)}, or to ${name}`,
    },
  ];
}

function modeFindings({ modes }: ImageKeys, entries: readonly FolderEntry[]): Finding[] {
  const files = entries.flatMap(({ path }) => (path.startsWith("files/") ? [pathInImage(path)] : []));
  return Object.keys(modes)
    .filter((path) => !files.includes(path))
    .map((path) => ({
      path: ["modes", path],
      isOfKey: true,
      what: `the key ${JSON.stringify(path)} is no file of files/`,
      todo: `write its absolute path in the image: ${files.slice(0, 5).join(", ") || "there are no files"}`,
    }));
}
