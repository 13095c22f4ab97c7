import { resolve } from "node:path";
import { isNoSuchFile, readFile } from "../clients/proxmox/agent.ts";
import type { Proxmox } from "../clients/proxmox/client.ts";
import { ProxmoxError } from "../clients/proxmox/errors.ts";
import type { Config } from "../config/config.ts";
import {
  baselineOf,
  type BaselineNode,
  type NodeBaseline,
  type NodeReading,
  type RecordedPackages,
} from "../domain/images/baseline.ts";
import { readDpkgStatus } from "../domain/images/dpkg-status.ts";
import { contentsOf, RECORD_DIRECTORY } from "../domain/images/measurement.ts";
import type { ObservedVm } from "../domain/model/types.ts";
import { readRecordedContents, type RecordedContents } from "../evidence/recorded-contents.ts";
import { messageOf } from "../runtime/errors.ts";
import { trustedKeysOf } from "./image-trust.ts";
import type { ObservedCluster } from "./observed-cluster.ts";

/** Guests that are read at once. */
const AT_ONCE = 8;

/**
 * Compares every node of a cluster with its image. Files of the guests are read and nothing else: the token needs no more
 * than a preview does. A guest that cannot be read is part of the result.
 * @param project folder of the project: relative folders of the configuration begin there
 * @throws UserError when the store of records cannot be read
 */
export async function readBaseline(
  pve: Proxmox,
  { images }: Config,
  observed: ObservedCluster,
  project: string,
): Promise<NodeBaseline[]> {
  const store = images && (await readRecordedContents(resolve(project, images.records), trustedKeysOf(images)));
  const retired = new Set(
    [...observed.records.values()].flatMap((record) =>
      record.nodes.flatMap(({ uuid, phase }) => (phase === "retired" ? uuid : [])),
    ),
  );
  // A VM that is kept, off, for its data is no node any more.
  const nodes = observed.vms.filter(({ uuid }) => !retired.has(uuid));
  const vms = nodes.toSorted((a, b) => (a.name < b.name ? -1 : 1));
  const found: NodeBaseline[] = [];
  for (let from = 0; from < vms.length; from += AT_ONCE)
    found.push(
      ...(await Promise.all(
        vms.slice(from, from + AT_ONCE).map(async (vm) => {
          const node = nodeOf(vm, observed);
          const why = silenceOf(vm);
          const ask = <T>(read: () => Promise<T>) => (why === undefined ? read() : { why });
          const recorded = await (recordOf(node.image, store) ?? ask(() => readOwnRecord(pve, vm)));
          return baselineOf(node, recorded, await ask(() => readNode(pve, vm)));
        }),
      )),
    );
  return found;
}

function nodeOf({ pool, name, vmid, host, generation }: ObservedVm, observed: ObservedCluster): BaselineNode {
  const spec = observed.records.get(pool)?.generations.find(({ id }) => id === generation)?.spec;
  const running = observed.nodes.find((node) => node.name === name)?.kubelet;
  return {
    pool,
    name,
    vmid,
    host,
    ...(spec && { image: spec.image }),
    rke2: { ...(spec && { image: spec.rke2 }), ...(running !== undefined && { running }) },
  };
}

/** Why a guest cannot be asked. */
function silenceOf({ unreachable, running }: ObservedVm): string | undefined {
  return unreachable ?? (running ? undefined : "its VM does not run");
}

/** @returns undefined when the configuration names no store */
function recordOf(image: string | undefined, store: RecordedContents | undefined): RecordedPackages | undefined {
  const signed = store?.byImage.get(image ?? "");
  if (signed) return { packages: signed.packages, from: "record" };
  return store && { why: `the store has no record of ${image ?? "its generation"} that a trusted key has signed` };
}

/** The list that its bake left in the guest. */
async function readOwnRecord(pve: Proxmox, vm: ObservedVm): Promise<RecordedPackages> {
  const own = await readText(pve, vm, `${RECORD_DIRECTORY}/packages`);
  if (own === undefined) return { why: "it has no record" };
  if (typeof own !== "string") return own;
  return attempt(() => ({ packages: contentsOf({ packages: own, files: "" }).packages, from: "node" }));
}

async function readNode(pve: Proxmox, vm: ObservedVm): Promise<NodeReading | { why: string }> {
  const [status, kernel, reboot, packages] = await Promise.all(
    ["/var/lib/dpkg/status", "/proc/sys/kernel/osrelease", "/run/reboot-required", "/run/reboot-required.pkgs"].map(
      (file) => readText(pve, vm, file),
    ),
  );
  for (const answer of [status, kernel, reboot, packages]) if (typeof answer === "object") return answer;
  if (typeof status !== "string" || typeof kernel !== "string") return { why: "it is no guest of Debian's kind" };
  return attempt(() => ({
    dpkg: readDpkgStatus(status),
    kernel: kernel.trim(),
    ...(typeof reboot === "string" && { rebootFor: linesOf(typeof packages === "string" ? packages : "") }),
  }));
}

/** @returns undefined when there is no such file, and why when it could not be read */
async function readText(pve: Proxmox, vm: ObservedVm, file: string): Promise<string | undefined | { why: string }> {
  try {
    return (await readFile(pve, vm, file)).toString();
  } catch (error) {
    if (isNoSuchFile(error)) return undefined;
    if (error instanceof ProxmoxError) return { why: error.message };
    throw error;
  }
}

function attempt<T>(read: () => T): T | { why: string } {
  try {
    return read();
  } catch (error) {
    return { why: messageOf(error) };
  }
}

const linesOf = (text: string): string[] => [...new Set(text.split("\n").filter((line) => line !== ""))].toSorted();
