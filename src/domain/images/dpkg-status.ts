/** What dpkg knows of a guest's packages: `/var/lib/dpkg/status` (dpkg(1), "Package states"). */
import { compareDebianVersions, parseDebianVersion } from "../versions/debian-version.ts";
import type { Package } from "./contents.ts";

/** Packages of a guest. */
export interface DpkgStatus {
  /** Packages that are installed, in the order of the file. */
  packages: readonly Package[];
  /** Packages that dpkg has not finished, with their state: `half-configured`. `dpkg --configure -a` goes on with them. */
  broken: readonly { name: string; state: string }[];
}

/** States in which all files of a package are there, and it is configured but for triggers of others. */
const INSTALLED = ["installed", "triggers-awaiting", "triggers-pending"];
/** States in which there is nothing of a package but its settings. */
const ABSENT = ["not-installed", "config-files"];

/** @throws Error when the file is empty or has an entry without a name, a version or a state: then nothing is known */
export function readDpkgStatus(text: string): DpkgStatus {
  const entries = text.split(/\n\n+/).filter((entry) => entry.trim() !== "");
  if (entries.length === 0) throw new Error("dpkg's list of packages is empty");
  const packages: Package[] = [];
  const broken: DpkgStatus["broken"][number][] = [];
  for (const entry of entries) {
    const fields = fieldsOf(entry);
    const name = fields.get("Package");
    const [, flag, state] = fields.get("Status")?.split(" ") ?? [];
    if (name === undefined || flag === undefined || state === undefined)
      throw new Error(`dpkg's list of packages is not readable: ${entry.slice(0, 80)}`);
    if (ABSENT.includes(state)) continue;
    if (!INSTALLED.includes(state) || flag !== "ok") broken.push({ name, state: flag === "ok" ? state : flag });
    const [version, architecture] = [fields.get("Version"), fields.get("Architecture")];
    if (version !== undefined && architecture !== undefined) packages.push({ name, version, architecture });
    else if (INSTALLED.includes(state)) throw new Error(`dpkg's list of packages has no version of ${name}`);
  }
  return { packages, broken };
}

/** Fields of one line; what goes on over several lines, as a description, is of no use here. */
function fieldsOf(entry: string): Map<string, string> {
  return new Map(
    entry.split("\n").flatMap((line): [string, string][] => {
      const [, key, value] = /^([A-Za-z-]+): (.*)$/.exec(line) ?? [];
      return key === undefined || value === undefined ? [] : [[key, value]];
    }),
  );
}

/** The package of an Ubuntu or Debian kernel, by the release that `uname -r` prints: `linux-image-6.8.0-71-generic`. */
const KERNEL = /^linux-image-(?:unsigned-)?(\d\S*)$/;

/**
 * The newest kernel that is installed, by its release (`6.8.0-71-generic`), of the flavour that runs; undefined: none is.
 * Other flavours do not count: a machine boots into that one which it was set up with.
 */
export function newestKernel(packages: readonly Package[], running: string): string | undefined {
  const kernels = packages.flatMap(({ name, version }) => {
    const release = KERNEL.exec(name)?.[1];
    return release !== undefined && flavourOf(release) === flavourOf(running) ? [{ release, version }] : [];
  });
  const [newest] = kernels.toSorted((a, b) => compare(b.version, a.version));
  return newest?.release;
}

/** `generic` of `6.8.0-71-generic`, `amd64` of `6.12.41+deb13-amd64`. */
function flavourOf(release: string): string {
  return /-([a-z][a-z0-9-]*)$/.exec(release)?.[1] ?? "";
}

function compare(a: string, b: string): number {
  const [left, right] = [parseDebianVersion(a), parseDebianVersion(b)];
  return left && right ? compareDebianVersions(left, right) : 0;
}
