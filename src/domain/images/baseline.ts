/** What nodes run, against what their images hold: drift, each difference with what it means. */
import type { Package } from "./contents.ts";
import { diffPackages, packageLine, type PackageChange } from "./contents-diff.ts";
import { newestKernel, type DpkgStatus } from "./dpkg-status.ts";

/** What was read of the guest of a node. */
export interface NodeReading {
  dpkg: DpkgStatus;
  /** Release of the kernel that runs, as `uname -r` prints it: `6.8.0-71-generic`. */
  kernel: string;
  /** Packages that ask for a reboot (`/run/reboot-required.pkgs`); undefined: none does. */
  rebootFor?: readonly string[];
}

/** A node of the cluster. */
export interface BaselineNode {
  pool: string;
  name: string;
  vmid: number;
  host: string;
  /** The image that it was cloned from; absent: the cluster's record does not know its generation. */
  image?: string;
  /** RKE2 that its image has, and that its Node reports; absent: not known. */
  rke2: { image?: string; running?: string };
}

/** The packages of an image, and where they are known from: its record, or the list in the node itself. */
export type RecordedPackages = { packages: readonly Package[]; from: "record" | "node" } | { why: string };

/**
 * How much a difference matters. `unknown`: nobody could look. `broken`: it needs hands. `other`: the node does not run
 * what its image holds. `owed`: the node has what it needs, and does not run it yet.
 */
export type Weight = "unknown" | "broken" | "other" | "owed";

/** A difference of a node. */
export interface Drift {
  weight: Weight;
  what: string;
  /** What makes the node as its image again, or finishes what is owed. */
  todo: string;
}

/** A node with all that differs; nothing: it is as its image. */
export interface NodeBaseline extends BaselineNode {
  /** Releases of the kernel that runs, and of the newest that is installed; absent: not known. */
  kernel?: { running: string; installed?: string };
  rebootPending?: boolean;
  /** Where the packages of its image are known from. */
  packagesFrom?: "record" | "node";
  /** Packages that differ from those of the image. */
  packages: readonly PackageChange[];
  drift: readonly Drift[];
}

const ASK_RECORD = "name the store of its record in evergreen:images, or bake its image";
const REPLACE = "replace the node: raise `rollout` of its pool, or roll its next image";

/**
 * Compares a node with its image.
 * @param reading what its guest says, or why it says nothing
 */
export function baselineOf(
  node: BaselineNode,
  recorded: RecordedPackages,
  reading: NodeReading | { why: string },
): NodeBaseline {
  const known = [...rke2Drift(node), ...unrecorded(recorded)];
  if ("why" in reading) return { ...node, packages: [], drift: [...known, unread(reading.why)] };
  const { dpkg, kernel, rebootFor } = reading;
  const packages = "why" in recorded ? [] : diffPackages(recorded.packages, dpkg.packages);
  const installed = newestKernel(dpkg.packages, kernel);
  const reboot = rebootDrift(kernel, installed, rebootFor);
  return {
    ...node,
    kernel: { running: kernel, ...(installed === undefined ? {} : { installed }) },
    rebootPending: reboot.length > 0,
    ...("why" in recorded ? {} : { packagesFrom: recorded.from }),
    packages,
    drift: [...known, ...dpkg.broken.map(brokenDrift), ...packages.map(packageDrift), ...reboot],
  };
}

function rke2Drift({ rke2: { image, running } }: Pick<BaselineNode, "rke2">): Drift[] {
  if (running === undefined)
    return [
      { weight: "unknown", what: "its RKE2 is not known: it has no Node that reports", todo: "npx evergreen status" },
    ];
  if (image === undefined)
    return [{ weight: "unknown", what: `RKE2 ${running} runs, and nobody knows of which image`, todo: REPLACE }];
  return running === image
    ? []
    : [{ weight: "other", what: `RKE2 ${running} runs, and its image has ${image}`, todo: REPLACE }];
}

function unread(why: string): Drift {
  return { weight: "unknown", what: `its guest cannot be read: ${why}`, todo: "look at its VM and its guest agent" };
}

function unrecorded(recorded: RecordedPackages): Drift[] {
  if (!("why" in recorded)) return [];
  return [{ weight: "unknown", what: `what its image holds is not known: ${recorded.why}`, todo: ASK_RECORD }];
}

function brokenDrift({ name, state }: DpkgStatus["broken"][number]): Drift {
  return {
    weight: "broken",
    what: `the package ${name} is ${state}: an installation was broken off`,
    todo: `dpkg --configure -a on the node; or ${REPLACE}`,
  };
}

function packageDrift(change: PackageChange): Drift {
  return { weight: "other", what: packageLine(change), todo: REPLACE };
}

function rebootDrift(
  running: string,
  installed: string | undefined,
  rebootFor: readonly string[] | undefined,
): Drift[] {
  const todo = `reboot the node in its window; or ${REPLACE}`;
  if (installed !== undefined && installed !== running)
    return [{ weight: "owed", what: `the kernel ${running} runs, and ${installed} is installed`, todo }];
  if (rebootFor === undefined) return [];
  const packages = rebootFor.length === 0 ? "" : `: ${rebootFor.join(", ")}`;
  return [{ weight: "owed", what: `a reboot is pending${packages}`, todo }];
}
