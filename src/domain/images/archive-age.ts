import type { ImageDefinition } from "./definition.ts";
import type { Problem } from "../model/problem.ts";

/** Days for which Ubuntu promises to keep a snapshot of its archive: two years. */
const KEPT_DAYS = 730;
/** Days before the end of that at which it is said: time for another version, its proof and its rollout. */
const WARNED_DAYS = 90;
const DAY_MS = 86_400_000;

/** What the age of a definition's archive means for a bake of it. */
export type ArchiveAge =
  | { state: "fresh"; days: number }
  /** It will soon be gone, or may be gone: the image cannot be baked again from the net. */
  | { state: "ageing" | "old"; days: number; note: string }
  /** It does not exist yet. */
  | { state: "future"; problem: Omit<Problem, "where"> };

/** @param now in milliseconds since 1970 */
export function archiveAge({ archiveDate }: Pick<ImageDefinition, "archiveDate">, now: number): ArchiveAge {
  const iso = archiveDate.replace(/^(....)(..)(..)T(..)(..)(..)Z$/, "$1-$2-$3T$4:$5:$6Z");
  const days = Math.floor((now - Date.parse(iso)) / DAY_MS);
  if (days < 0)
    return {
      state: "future",
      problem: {
        what: `the archive of ${archiveDate} does not exist yet: packages come from a moment that has passed`,
        todo: "set archiveDate to a moment in the past, and look at the clock of this machine",
      },
    };
  if (days >= KEPT_DAYS)
    return {
      state: "old",
      days,
      note: `its archive is ${days} days old and may be gone: only a mirror can bake it again`,
    };
  if (days < KEPT_DAYS - WARNED_DAYS) return { state: "fresh", days };
  return {
    state: "ageing",
    days,
    note: `its archive is ${days} days old, and kept for ${KEPT_DAYS}: make a newer version before it is gone`,
  };
}
