import { lstatSync, readdirSync, readFileSync, type Dirent } from "node:fs";
import { join } from "node:path";
import { nearest } from "./messages.ts";
import { FOLDERS, IMAGE_FILE, type FileFault, type FolderEntry } from "./image-files.ts";

/** The most that a definition may have: it is read as a whole, and travels to the bake on a CD. */
export const LIMITS = { fileBytes: 1 << 20, allBytes: 16 << 20, files: 1000, keysBytes: 256 << 10 } as const;

/** What else may lie in a definition's folder, without an effect on the image: it is not read here. */
const README = "README.md";
/** Evidence of what is pinned: lists of digests, their signatures, manifests and changelogs. */
export const PINS = "pins";

/** Everything in the folder of a definition, and what cannot be read or does not belong there. */
export function readFolder(folder: string): { entries: FolderEntry[]; faults: FileFault[] } {
  const entries: FolderEntry[] = [];
  const faults: FileFault[] = [];
  let room: number = LIMITS.allBytes;
  for (const { path, entry } of walk(folder)) {
    const fault = kindFault(path, entry) ?? placeFault(path);
    if (fault !== undefined) {
      faults.push(fault);
      continue;
    }
    const { size, mode } = lstatSync(join(folder, path));
    const most = path === IMAGE_FILE ? LIMITS.keysBytes : LIMITS.fileBytes;
    room -= size;
    if (size > most) faults.push(tooLarge(path, size, most));
    else if (room < 0 || entries.length >= LIMITS.files) return { entries, faults: [...faults, tooMuch(path)] };
    else entries.push({ path, bytes: readFileSync(join(folder, path)), isExecutable: (mode & 0o100) !== 0 });
  }
  return { entries, faults };
}

/** All that lies below a folder and is no folder itself, in the order of their names; nothing behind a symbolic link. */
function* walk(folder: string, below = ""): Generator<{ path: string; entry: Dirent }> {
  const entries = readdirSync(join(folder, below), { withFileTypes: true });
  for (const entry of entries.toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
    const path = below === "" ? entry.name : `${below}/${entry.name}`;
    if (entry.isDirectory() && path === PINS) continue;
    if (entry.isDirectory()) yield* walk(folder, path);
    else yield { path, entry };
  }
}

function kindFault(file: string, entry: Dirent): FileFault | undefined {
  if (entry.isFile()) return undefined;
  if (entry.isSymbolicLink())
    return {
      file,
      what: "a symbolic link cannot be part of a definition: what it leads to is not in the digest",
      todo: "put the file itself there; a link in the image is made by a script",
    };
  return { file, what: "the folder has an entry that is no file", todo: "remove it" };
}

/** What lies beside the folders that are read. */
function placeFault(file: string): FileFault | undefined {
  const [first = "", ...deeper] = file.split("/");
  const known = [IMAGE_FILE, README, PINS, ...FOLDERS];
  const isKnown =
    deeper.length > 0 ? (FOLDERS as readonly string[]).includes(first) : [IMAGE_FILE, README].includes(first);
  if (isKnown) return undefined;
  const meant = nearest(
    first,
    known.filter((one) => one !== first),
  );
  return {
    file,
    what: `nothing reads ${first} in the folder of a definition`,
    todo: meant === undefined ? `a definition has ${known.join(", ")}` : `did you mean "${meant}"?`,
  };
}

const tooLarge = (file: string, size: number, most: number): FileFault => ({
  file,
  what: `the file is too large for a definition: ${size} bytes, and at most ${most} are read`,
  todo: "make a package of it, or have a script download it by its digest from the site's mirror",
});

const tooMuch = (file: string): FileFault => ({
  file,
  what: `the definition is too large: at most ${LIMITS.files} files with ${LIMITS.allBytes} bytes are read`,
  todo: "make a package of what belongs together",
});
