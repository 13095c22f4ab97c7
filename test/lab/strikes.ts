/**
 * node test/lab/strikes.ts FILE: the matrix of a run of tests. Every lab adds its strikes to the file that
 * EVERGREEN_STRIKES names. Ends with 1 when a kind of fault that labs can make struck nothing in the whole run.
 */
import { readFileSync } from "node:fs";
import { table } from "../../cli/table.ts";
import { faultKinds, type FaultKind, type Strike } from "../../lab/strikes.ts";

/** @returns a row for each cell, and the kinds that never struck */
export function matrixOf(text: string): { rows: string[][]; empty: FaultKind[] } {
  const sums = new Map<string, Strike>();
  for (const line of text.split("\n").filter((one) => one !== "")) {
    const strike = JSON.parse(line) as Strike;
    const key = `${strike.kind} ${strike.on}`;
    sums.set(key, { ...strike, times: strike.times + (sums.get(key)?.times ?? 0) });
  }
  const cells = [...sums.values()];
  const kinds = Object.keys(faultKinds) as FaultKind[];
  const rows = kinds.flatMap((kind) =>
    cells
      .filter((cell) => cell.kind === kind)
      .toSorted((a, b) => (a.on < b.on ? -1 : 1))
      .map(({ on, times }) => [kind, on, String(times)]),
  );
  return { rows, empty: kinds.filter((kind) => !cells.some((cell) => cell.kind === kind)) };
}

const file = process.argv[2];
if (import.meta.main && file !== undefined) {
  const { rows, empty } = matrixOf(readFileSync(file, "utf8"));
  console.log(`Faults that struck in the labs:\n${table(["fault", "struck", "times"], rows)}`);
  for (const kind of empty) console.log(`never struck: ${kind} (${faultKinds[kind]})`);
  process.exitCode = empty.length > 0 ? 1 : 0;
}
