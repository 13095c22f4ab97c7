/**
 * What is asked of a guest before it becomes a template, and of a clone before the template is used: what a check is, how
 * checks are run in a guest, and what their output means. The checks themselves are data: hygiene-checks.ts.
 */
/** `sealed`: the guest of the bake, sealed and not yet off. `clone`: a clone of the template, at any of its boots. */
export type Moment = "sealed" | "clone";

export interface Check {
  /** Words with dashes. */
  id: string;
  /** What it looks at, as part of a sentence. */
  looksAt: string;
  moments: readonly Moment[];
  /** For a POSIX shell, as root: prints what it finds. */
  script: string;
  /** What it must print, without the last line's end; `machine-id`: the SMBIOS uuid of the VM without dashes. */
  expected: { text: string } | "machine-id";
  mutant: {
    /** The defect, as part of a sentence. */
    defect: string;
    /** Plants it in a guest, as root. */
    plant: string;
  };
}

/** What only the outside of a guest knows of it. */
export interface GuestFacts {
  /** SMBIOS uuid of its VM: of a fresh clone it is the machine-id too, without dashes. */
  uuid: string;
}

/** A check that did not find what it should. */
export interface Finding {
  id: string;
  looksAt: string;
  expected: string;
  /** What it printed, or why there is nothing. */
  found: string;
}

/** Those of some checks that are made at a moment. */
export function at(moment: Moment, checks: readonly Check[]): Check[] {
  return checks.filter(({ moments }) => moments.includes(moment));
}

/** Begins the output of a check. No output of ours has it. */
const MARK = "@@evergreen";

/** All checks as one script for `/bin/sh -s`: one call of the guest agent, and each check in a shell of its own. */
export function scriptOf(checks: readonly Check[]): string {
  const parts = checks.map(
    ({ id, script }) =>
      `printf '${MARK} ${id}\\n'\n(\n${script}\n) 2>&1 </dev/null\nprintf '\\n${MARK} end %s\\n' "$?"\n`,
  );
  return `export LC_ALL=C\n${parts.join("")}`;
}

/**
 * Reads the output of the script.
 * @returns nothing when every check has printed what it should, and ended well; a check of which the output has nothing
 *   is a finding
 */
export function findingsOf(checks: readonly Check[], output: string, facts: GuestFacts): Finding[] {
  const printed = new Map(
    output
      .split(new RegExp(`^${MARK} (?!end )`, "m"))
      .slice(1)
      .map((part) => {
        const end = new RegExp(`^([\\w-]+)\\n([^]*?)\\n?\\n${MARK} end (\\d+)\\n`).exec(part);
        const [, id = part.split("\n", 1)[0] ?? "", text, code] = end ?? [];
        return [id, code === undefined ? undefined : { text: text ?? "", code }] as const;
      }),
  );
  return checks.flatMap(({ id, looksAt, expected }) => {
    const wanted = expected === "machine-id" ? facts.uuid.replaceAll("-", "").toLowerCase() : expected.text;
    const its = printed.get(id);
    if (its?.code === "0" && its.text === wanted) return [];
    const found = its === undefined ? "no answer" : its.code === "0" ? its.text : `${its.text} (exit code ${its.code})`;
    return [{ id, looksAt, expected: wanted, found }];
  });
}
