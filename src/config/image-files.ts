import { createHash } from "node:crypto";
import { posix } from "node:path";
import { guest } from "../../images/contract.ts";
import type { ImageFile } from "../domain/images/definition.ts";
import type { Problem } from "../runtime/errors.ts";
import { secretIn } from "./secrets.ts";
import { placeIn, type Place } from "./yaml-source.ts";

/*
 * The files that a definition brings into an image, and the scripts that it runs: what they must be. Read from a folder
 * by image-folder.ts.
 */

/** An entry of a definition's folder that is no folder itself. */
export interface FolderEntry {
  /** Path in the definition's folder: `files/etc/motd`. */
  path: string;
  bytes: Uint8Array;
  /** Whether its owner may run it. */
  isExecutable: boolean;
}

/** What is wrong with a file of the folder. */
export interface FileFault extends Omit<Problem, "where"> {
  /** Path in the definition's folder. */
  file: string;
  /** Where in the file, when it is one place. */
  place?: Place;
}

/** Folders of a definition. Besides them it has `image.yaml`, and may have a README.md. */
export const FOLDERS = ["files", "scripts", "tests"] as const;
type Folder = (typeof FOLDERS)[number];

/** The name of the file with a definition's keys. */
export const IMAGE_FILE = "image.yaml";

/** A path that shells, systemd and cloud-init take as it is. */
const PLAIN_PATH = /^[A-Za-z0-9._@:+,=%~\\/-]+$/;
const SCRIPT_NAME = /^[a-z0-9][a-z0-9._-]{0,63}$/;

/** Paths that an image may not get from `files/`: a folder ends with a slash, an entry with `*` is how names begin. */
const NOT_FROM_FILES: readonly { paths: readonly string[]; why: string }[] = [
  {
    paths: [
      ...["/etc/evergreen/", "/var/lib/evergreen/", "/var/log/evergreen/", "/usr/lib/evergreen/"],
      ...["/etc/systemd/system/evergreen-*", "/usr/lib/systemd/system/evergreen-*", "/lib/systemd/system/evergreen-*"],
      ...["/etc/systemd/system-preset/", "/usr/lib/systemd/system-preset/10-evergreen.preset"],
    ],
    why: "Evergreen's own files lie there",
  },
  {
    paths: [guest.config, `${guest.config}.d/`, guest.kubeconfig],
    why: "the configuration of a node comes with its join data",
  },
  {
    paths: ["/etc/rancher/node/", "/var/lib/rancher/", "/var/lib/kubelet/", "/var/lib/cni/", "/etc/cni/", "/opt/cni/"],
    why: "RKE2 makes them on each node, and the bake what may be in an image",
  },
  {
    paths: [
      ...["/usr/local/bin/rke2", "/usr/local/bin/rke2-*", "/opt/rke2/", "/usr/local/lib/systemd/system/rke2-*"],
      ...["/etc/systemd/system/rke2-server.service", "/etc/systemd/system/rke2-agent.service"],
    ],
    why: "RKE2 comes from its artefacts; a drop-in (rke2-server.service.d/) may be a file",
  },
  {
    paths: [
      ...["/etc/machine-id", "/etc/hostname", "/etc/ssh/ssh_host_*", "/var/lib/dbus/", "/var/lib/cloud/"],
      ...["/etc/netplan/50-cloud-init.yaml", "/var/lib/systemd/random-seed"],
    ],
    why: "each clone has its own",
  },
  {
    paths: ["/etc/passwd*", "/etc/shadow*", "/etc/group*", "/etc/gshadow*"],
    why: "packages and cloud-init write accounts, and a whole file would take them away",
  },
  {
    paths: ["/proc/", "/sys/", "/dev/", "/run/", "/var/run/", "/tmp/", "/var/tmp/"],
    why: "what lies there is gone at the next boot",
  },
  {
    paths: ["/var/lib/dpkg/", "/var/lib/apt/", "/var/cache/apt/", "/boot/"],
    why: "packages keep them",
  },
];

/** The entries of a definition's folder that belong into the image, in their order, and what is wrong with them. */
export function imageFilesOf(
  entries: readonly FolderEntry[],
  modes: Readonly<Record<string, string>>,
): { files: ImageFile[]; scripts: ImageFile[]; tests: ImageFile[]; faults: FileFault[] } {
  const ordered = entries.toSorted((a, b) => (a.path < b.path ? -1 : 1));
  const below = (folder: Folder): FolderEntry[] => ordered.filter(({ path }) => path.startsWith(`${folder}/`));
  const files = below("files").map((entry) => fileOf(entry, modes));
  const scripts = below("scripts").map(scriptOf);
  const tests = below("tests").map(scriptOf);
  const faults = [
    ...below("files").flatMap(pathFaults),
    ...[...below("scripts"), ...below("tests")].flatMap(scriptFaults),
    ...ordered.flatMap(secretFaults),
  ];
  return { files, scripts, tests, faults };
}

const sha256Of = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

/** Where a file of `files/` lies in the image. */
export const pathInImage = (path: string): string => path.slice("files".length);

/** The bytes of the entries, by their SHA-256. */
export function contentsOf(entries: readonly FolderEntry[]): Map<string, Uint8Array> {
  const inImage = entries.filter(({ path }) => FOLDERS.some((folder) => path.startsWith(`${folder}/`)));
  return new Map(inImage.map(({ bytes }) => [sha256Of(bytes), bytes]));
}

function fileOf({ path, bytes, isExecutable }: FolderEntry, modes: Readonly<Record<string, string>>): ImageFile {
  const inImage = pathInImage(path);
  const given = Object.hasOwn(modes, inImage) ? modes[inImage] : undefined;
  return { path: inImage, sha256: sha256Of(bytes), mode: given ?? (isExecutable ? "0755" : "0644") };
}

const scriptOf = ({ path, bytes }: FolderEntry): ImageFile => ({
  path: posix.basename(path),
  sha256: sha256Of(bytes),
  mode: "0755",
});

/** Why a path in the image may not come from `files/`; undefined when it may. */
export function reasonAgainst(path: string): string | undefined {
  const covers = (pattern: string): boolean => {
    if (pattern.endsWith("*")) return path.startsWith(pattern.slice(0, -1));
    return pattern.endsWith("/") ? path.startsWith(pattern) || `${path}/` === pattern : path === pattern;
  };
  return NOT_FROM_FILES.find(({ paths }) => paths.some(covers))?.why;
}

function pathFaults({ path }: FolderEntry): FileFault[] {
  const inImage = pathInImage(path);
  if (!PLAIN_PATH.test(path) || posix.normalize(path) !== path || path.length > 1024)
    return [
      {
        file: path,
        what: "the path of a file is not possible in an image",
        todo: "name it with letters, digits and . _ @ : + , = % ~ - only",
      },
    ];
  const why = reasonAgainst(inImage);
  return why === undefined
    ? []
    : [{ file: path, what: `${inImage} cannot come from files/: ${why}`, todo: "remove the file" }];
}

function scriptFaults({ path, bytes }: FolderEntry): FileFault[] {
  const [folder = "", name = "", ...deeper] = path.split("/");
  if (deeper.length > 0 || !SCRIPT_NAME.test(name))
    return [
      {
        file: path,
        what: `a script cannot be called ${JSON.stringify([name, ...deeper].join("/"))}`,
        todo: `put it right into ${folder}/, with small letters, digits and . _ - in its name: they run in the order of their names`,
      },
    ];
  const text = Buffer.from(bytes).toString("latin1");
  if (!text.startsWith("#!/"))
    return [
      {
        file: path,
        place: { line: 1, column: 1 },
        what: "the script does not say what runs it",
        todo: "begin it with #!/bin/sh or the like",
      },
    ];
  const carriage = text.indexOf("\r\n");
  if (carriage < 0) return [];
  return [
    {
      file: path,
      place: placeIn(text, carriage),
      what: "a line of the script ends with CR LF, and no shell runs it",
      todo: "write it with LF, and keep it so in .gitattributes (* text eol=lf)",
    },
  ];
}

function secretFaults({ path, bytes }: FolderEntry): FileFault[] {
  const text = Buffer.from(bytes).toString("latin1");
  const secret = secretIn(text, posix.basename(path));
  if (secret === undefined) return [];
  return [
    {
      file: path,
      place: placeIn(text, secret.offset),
      what: `the file has what looks like ${secret.kind}, and everybody who sees the repository or a node can read it`,
      todo: "take it out, and give nodes their secrets when they run: a Kubernetes Secret, or evergreen:registries",
    },
  ];
}
