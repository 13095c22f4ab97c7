import { UserErrors, type Problem } from "../runtime/errors.ts";
import type { CandidateHost } from "./hosts.ts";
import type { Clone, Drive } from "./templates.ts";

/** A disk that a run makes. */
interface NewDisk {
  host: string;
  storage: string;
  sizeGiB: number;
  /** It begins as a difference of nothing to a disk of the template that the configuration gives no size. */
  isLinked?: true;
}

/**
 * Checks the space for all disks of a run at their full size: thin ones may grow to it, and the old VMs are destroyed
 * when the run has ended, so that all new disks exist beside all old ones. Where disks are thin, those that a linked clone
 * has of its template beside the system disk do not count: they take no room at first.
 * @param overcommit factor by which new disks may exceed the free space, where disks are thin
 * @param drives disks of a template beside the system disk, by its VMID: its clones have them too
 * @throws UserErrors that names each storage without enough space
 */
export function requireRoom(
  candidates: readonly CandidateHost[],
  overcommit: number,
  clones: readonly Clone[],
  drives: ReadonlyMap<number, readonly Drive[]>,
): void {
  const disks = clones.flatMap((clone) => disksOf(clone, drives.get(clone.template.vmid) ?? []));
  const checked = new Set<string>();
  const problems = candidates.flatMap(({ host, storage, found }): Problem[] => {
    // A shared storage is one storage, whichever host reports it.
    if (found === undefined || checked.has(storage)) return [];
    if (found.shared) checked.add(storage);
    const here = disks.filter(
      (disk) =>
        disk.storage === storage &&
        (found.shared || disk.host === host) &&
        (found.isThick === true || disk.isLinked !== true),
    );
    const needed = here.reduce((sum, { sizeGiB }) => sum + sizeGiB, 0);
    const factor = found.isThick ? 1 : overcommit;
    return needed <= found.freeGiB * factor ? [] : [noRoom({ host, storage, found }, here.length, needed, factor)];
  });
  if (problems.length > 0) throw new UserErrors(problems);
}

function disksOf({ host, spec, placement }: Clone, drives: readonly Drive[]): NewDisk[] {
  const { storage, fullClones } = placement;
  return [
    { host, storage, sizeGiB: spec.diskGiB },
    ...(spec.hardware?.disks ?? []).map((disk) => ({ host, storage: disk.storage ?? storage, sizeGiB: disk.sizeGiB })),
    // A full clone has all its disks on one storage, and a linked one beside those of the template.
    ...drives.map(({ sizeGiB, ...drive }) =>
      fullClones ? { host, storage, sizeGiB } : { host, storage: drive.storage, sizeGiB, isLinked: true as const },
    ),
  ];
}

function noRoom(
  { host, storage, found }: CandidateHost & { found: NonNullable<CandidateHost["found"]> },
  count: number,
  neededGiB: number,
  factor: number,
): Problem {
  const where = `storage ${storage} on ${host}`;
  const beside = "old and new nodes exist side by side";
  const [needed, free] = [Math.ceil(neededGiB * 10) / 10, Math.floor(found.freeGiB)];
  const less = "free space there, lower the surge of the pool, or use the rolling strategy";
  if (found.isThick)
    return {
      what: `${count} new disks take ${needed} GiB at once and ${free} GiB are free: disks there are not thin, and ${beside}`,
      where,
      todo: `${less}; an overcommit does not count there`,
    };
  const times = factor === 1 ? "" : `, times an overcommit of ${factor}`;
  return {
    what: `${count} new disks may grow to ${needed} GiB and ${free} GiB are free${times}: ${beside}`,
    where,
    todo: `${less}, or raise evergreen:site.storageOvercommit where thin disks stay small`,
  };
}
