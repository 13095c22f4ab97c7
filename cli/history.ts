import { UserError } from "../src/runtime/errors.ts";

/** The message of an update that is a rollback. */
export const rollbackMessage = "evergreen rollback";

/** One entry of `pulumi stack history --json`: the fields that are used here. */
export interface Update {
  kind: string;
  result: string;
  message?: string;
  /** ISO 8601 */
  endTime: string;
  environment: Record<string, string>;
  config: Record<string, unknown>;
}

export interface GoodUpdate {
  commit: string;
  endTime: string;
}

/**
 * The commit of the last good update before the present state of the stack. This is the newest update that succeeded
 * from a clean tree and whose commit or configuration differs from that of the latest update. What a rollback went back
 * from does not count, and a rollback that did not end is carried on. The file backend numbers every entry 0, so
 * entries are ordered by time.
 * @throws UserError when no update of the history can be reproduced from a commit
 */
export function lastGood(history: readonly Update[], stack: string): GoodUpdate {
  const updates = history
    .filter((entry) => entry.kind === "update")
    .toSorted((a, b) => Date.parse(a.endTime) - Date.parse(b.endTime));
  const standing = withoutUndone(updates);
  const [present, ...earlier] = standing.toReversed();
  const isGood = (entry: Update) => entry.result === "succeeded" && isReproducible(entry);
  const isBegun = updates.at(-1)?.message === rollbackMessage && updates.at(-1)?.result !== "succeeded";
  const good =
    isBegun && present && isGood(present) ? present : earlier.find((entry) => isGood(entry) && differs(entry, present));
  const commit = good?.environment["git.head"];
  if (good && commit !== undefined) return { commit, endTime: good.endTime };
  throw new UserError({
    what: "there is no earlier good update to go back to",
    where: `the history of stack ${stack}: ${describe(updates)}`,
    todo: "commit before you run `pulumi up`, so that every update can be reproduced; now: check out the commit that you want and run `pulumi up`, or name it with --to",
  });
}

/** The updates, oldest first, without those that a rollback went back from, and without that rollback. */
function withoutUndone(updates: readonly Update[]): Update[] {
  return updates.reduce<Update[]>((before, entry) => {
    const head = entry.environment["git.head"];
    const isAim = (one: Update) => isReproducible(one) && one.environment["git.head"] === head;
    const aim = entry.message === rollbackMessage ? before.findLastIndex(isAim) : -1;
    return aim < 0 ? [...before, entry] : before.slice(0, aim + 1);
  }, []);
}

function isReproducible(update: Update): boolean {
  return update.environment["git.dirty"] === "false" && Boolean(update.environment["git.head"]);
}

/** False for the same commit with the same configuration: returning to it would change nothing. */
function differs(update: Update, present: Update | undefined): boolean {
  const asks = (entry: Update | undefined): string =>
    JSON.stringify([isReproducible(entry ?? update) ? entry?.environment["git.head"] : "dirty", entry?.config]);
  return asks(update) !== asks(present);
}

function describe(updates: readonly Update[]): string {
  if (updates.length === 0) return "it is empty";
  const dirty = updates.filter((entry) => entry.environment["git.dirty"] !== "false").length;
  const failed = updates.filter((entry) => entry.result !== "succeeded").length;
  return `${updates.length} updates, ${failed} failed, ${dirty} from a tree with uncommitted changes or none at all`;
}
