import { leaves, type DrainPod } from "./drain.ts";
import { shortList } from "./local-data.ts";
import { titleOf } from "../model/titles.ts";

/** The fields of a pod that may leave data on its node; Kubernetes' own Pod fits. */
export interface ScratchPod extends Omit<DrainPod, "spec"> {
  spec?: {
    nodeName?: string | undefined;
    containers?: { volumeMounts?: VolumeMount[] | undefined }[] | undefined;
    initContainers?: { volumeMounts?: VolumeMount[] | undefined }[] | undefined;
    volumes?:
      | {
          name: string;
          persistentVolumeClaim?: object | undefined;
          ephemeral?: object | undefined;
          emptyDir?: { medium?: string | undefined; sizeLimit?: string | undefined } | undefined;
          hostPath?: { path: string; type?: string | undefined } | undefined;
        }[]
      | undefined;
  };
}

interface VolumeMount {
  name: string;
  readOnly?: boolean | undefined;
}

/** Types of host files that hold no data, whatever a pod does with them. */
const NO_DATA = ["Socket", "CharDevice", "BlockDevice"];

/**
 * What the pods that leave a node lose besides their volumes, as one line or none. By design this data ends with the
 * pod or the machine, so it is reported and is no reason to refuse.
 */
export function scratchWords(node: string, pods: readonly ScratchPod[]): string[] {
  const moving = pods.filter((pod) => pod.spec?.nodeName === node && leaves(pod));
  const scratch = moving.flatMap(scratchOf);
  const paths = moving.flatMap(hostPathsOf);
  const parts = [
    ...count(scratch, "has an emptyDir on its disk", "have an emptyDir on its disk"),
    ...count(paths, "writes to a hostPath", "write to a hostPath"),
  ];
  return parts.length > 0 ? [`what pods of ${node} leave there is lost to them: ${parts.join("; ")}`] : [];
}

interface Scratch {
  words: string;
  bytes: number;
}

function count(found: readonly Scratch[], one: string, many: string): string[] {
  if (found.length === 0) return [];
  const biggest = found.toSorted((a, b) => b.bytes - a.bytes || (a.words < b.words ? -1 : 1));
  return [`${found.length} ${found.length === 1 ? one : many} (${shortList(biggest.map(({ words }) => words))})`];
}

/** Disk space that is freed with the pod: its emptyDirs, and volumes that are created for it. */
function scratchOf(pod: ScratchPod): Scratch[] {
  const volumes = (pod.spec?.volumes ?? []).filter(
    ({ emptyDir, ephemeral }) => ephemeral !== undefined || (emptyDir !== undefined && emptyDir.medium !== "Memory"),
  );
  if (volumes.length === 0) return [];
  const limits = volumes.flatMap(({ emptyDir }) => emptyDir?.sizeLimit ?? []);
  const upTo = limits.length > 0 ? ` up to ${limits.join(" + ")}` : "";
  return [{ words: `${titleOf(pod)}${upTo}`, bytes: limits.reduce((sum, limit) => sum + bytesOf(limit), 0) }];
}

function hostPathsOf(pod: ScratchPod): Scratch[] {
  const containers = [...(pod.spec?.containers ?? []), ...(pod.spec?.initContainers ?? [])];
  const written = new Set(
    containers
      .flatMap(({ volumeMounts = [] }) => volumeMounts.filter(({ readOnly }) => readOnly !== true))
      .map((one) => one.name),
  );
  const paths = (pod.spec?.volumes ?? []).flatMap(({ name, hostPath }) =>
    hostPath !== undefined && written.has(name) && !NO_DATA.includes(hostPath.type ?? "") ? [hostPath.path] : [],
  );
  return paths.length > 0 ? [{ words: `${titleOf(pod)} ${paths.join(" and ")}`, bytes: 0 }] : [];
}

const UNITS: Readonly<Record<string, number>> = {
  ...{ k: 1e3, M: 1e6, G: 1e9, T: 1e12 },
  ...{ Ki: 2 ** 10, Mi: 2 ** 20, Gi: 2 ** 30, Ti: 2 ** 40 },
};

/** A quantity in bytes, precise enough to sort by. */
function bytesOf(quantity: string): number {
  const [, number = "0", unit = ""] = /^(\d+(?:\.\d+)?)([A-Za-z]*)$/.exec(quantity) ?? [];
  return Number(number) * (UNITS[unit] ?? 1);
}
