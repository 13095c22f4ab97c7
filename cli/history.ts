import { UserError } from "../src/runtime/errors.ts";

/** One entry of `pulumi stack history --json`: the fields that are used here. */
export interface Update {
  kind: string;
  result: string;
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
 * from a clean tree and whose commit or configuration differs from that of the latest update. The file backend numbers
 * every entry 0, so entries are ordered by time.
 * @throws UserError when no update of the history can be reproduced from a commit
 */
export function lastGood(history: readonly Update[], stack: string): GoodUpdate {
  const updates = history
    .filter((entry) => entry.kind === "update")
    .toSorted((a, b) => Date.parse(b.endTime) - Date.parse(a.endTime));
  const [present, ...earlier] = updates;
  const good = earlier.find(
    (entry) => entry.result === "succeeded" && isReproducible(entry) && differs(entry, present),
  );
  const commit = good?.environment["git.head"];
  if (good && commit !== undefined) return { commit, endTime: good.endTime };
  throw new UserError({
    what: "there is no earlier good update to go back to",
    where: `the history of stack ${stack}: ${describe(updates)}`,
    todo: "commit before you run `pulumi up`, so that every update can be reproduced; now: check out the commit that you want and run `pulumi up`, or name it with --to",
  });
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
