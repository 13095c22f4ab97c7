/** The proof of a template: a clone of it is booted twice and asked, before any rollout may use the template. */
import { imageOf, type BakeOrder } from "./bake.ts";
import type { ImageFile } from "./definition.ts";
import type { Finding } from "./hygiene.ts";

/** All that decides a proof, as plain data. */
export interface ProofOrder {
  /** The bake whose template is proved. */
  bake: BakeOrder;
  /** SMBIOS uuid of the template. */
  uuid: string;
  /** VMID of the clone, one of those of bakes. */
  vmid: number;
  /** Folder of the store of records, relative to the program's own. */
  records: string;
  /** Who signs: the stack, such as `evergreen/dev`, and the version of Evergreen. */
  builder: { stack: string; version: string };
}

/** Name of the clone. */
export const proofNameOf = ({ bake }: Pick<ProofOrder, "bake">): string => `proof-${imageOf(bake)}`;

/** The line of the clone's notes that says whose it is. */
export function proofNote({ bake, vmid }: Pick<ProofOrder, "bake" | "vmid">): string {
  return `Evergreen: proof of ${imageOf(bake)}, as VM ${vmid}`;
}

/** Whether notes are those of a clone that an earlier run has made for this proof: nothing of it is needed any more. */
export function isOwnClone(order: Pick<ProofOrder, "bake" | "vmid">, notes: string): boolean {
  return notes.split("\n").includes(proofNote(order));
}

/** Longest times of a proof, in seconds. */
export const PROOF_SECONDS = {
  /** A linked clone, and what Proxmox does to a VM meanwhile. */
  clone: 900,
  /** A change that takes Proxmox moments. */
  change: 300,
  /** From power on until cloud-init and systemd have ended the boot. */
  boot: 900,
  /** All checks, the measurement, and each test. */
  ask: 900,
  shutdown: 300,
} as const;

/** The longest that a proof may take, in seconds. */
export function longestProof({ definition: { tests } }: Pick<BakeOrder, "definition">): number {
  const { clone, change, boot, ask, shutdown } = PROOF_SECONDS;
  return 2 * clone + 4 * change + 2 * (boot + 2 * ask) + shutdown + tests.length * ask;
}

/** What a clone was found to be at one of its boots. */
export interface BootFindings {
  /** 1 for the first boot of the clone. */
  boot: number;
  findings: readonly Finding[];
  /** Checks that were made, by their ids. */
  checks: readonly string[];
}

/** How a test of the definition ended. */
export interface TestEnd {
  test: ImageFile["path"];
  code: number;
  output: string;
}

/** The names of all that was asked, as a record has them: `boot 1: machine-id`, `tests/volumes`. */
export function outcomeOf(
  boots: readonly BootFindings[],
  tests: readonly TestEnd[],
): { passed: string[]; failed: string[] } {
  const asked = boots.flatMap(({ boot, checks, findings }) =>
    checks.map((id) => ({ name: `boot ${boot}: ${id}`, isPassed: findings.every((one) => one.id !== id) })),
  );
  const all = [...asked, ...tests.map(({ test, code }) => ({ name: `tests/${test}`, isPassed: code === 0 }))];
  const names = (isPassed: boolean) => all.filter((one) => one.isPassed === isPassed).map(({ name }) => name);
  return { passed: names(true), failed: names(false) };
}

/** What did not pass, a line each. */
export function failureLines(boots: readonly BootFindings[], tests: readonly TestEnd[]): string[] {
  return [
    ...boots.flatMap(({ boot, findings }) =>
      findings.map(({ id, looksAt, found }) => `boot ${boot}: ${id} looks at ${looksAt}, and found: ${found}`),
    ),
    ...tests
      .filter(({ code }) => code !== 0)
      .map(({ test, code, output }) => `tests/${test}: exit code ${code}: ${output.trim().slice(-500)}`),
  ];
}

/** Lists that a guest has measured of itself, and those of its image, by their names. */
export interface Lists {
  packages: string;
  files: string;
}

/** A check beside those that are data: whether a clone holds what its image's lists say. */
export const MEASURED = "contents";

/** How a clone differs from the lists of its image: nothing when it does not. */
export function measureFindings(recorded: Lists, measured: Lists): Finding[] {
  const changes = (["packages", "files"] as const).flatMap((name) => {
    const [before, after] = [recorded[name], measured[name]].map((text) => new Set(text.split("\n")));
    const gone = [...(before ?? [])].filter((line) => after?.has(line) !== true);
    const come = [...(after ?? [])].filter((line) => before?.has(line) !== true);
    return [...gone.map((line) => `- ${line}`), ...come.map((line) => `+ ${line}`)];
  });
  if (changes.length === 0) return [];
  const more = changes.length > 5 ? [`... and ${changes.length - 5} more`] : [];
  return [
    {
      id: MEASURED,
      looksAt: "that a clone holds the packages and protected files of its image",
      expected: "",
      found: [...changes.slice(0, 5), ...more].join("; "),
    },
  ];
}

/** Most bytes of a test: it goes to the guest as the input of a program, in Base64. */
export const LARGEST_TEST = 48 * 1024;

/** Runs the program that comes in Base64 at its standard input, whatever its first line says that runs it. */
export const RUN_TEST = [
  "/bin/sh",
  "-c",
  "base64 -d >/usr/lib/evergreen/test && chmod 700 /usr/lib/evergreen/test && /usr/lib/evergreen/test 2>&1 </dev/null; code=$?; rm -f /usr/lib/evergreen/test; exit $code",
] as const;

/** Ends when cloud-init and systemd have ended the boot, well or not: the checks say how. */
export const AWAIT_BOOT = [
  "/bin/sh",
  "-c",
  "cloud-init status --wait >/dev/null 2>&1; systemctl is-system-running --wait >/dev/null 2>&1; exit 0",
] as const;
