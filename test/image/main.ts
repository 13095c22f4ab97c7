/**
 * The reality check of images: a Debian guest is baked by the very scripts of a bake, sealed, cloned, joined and baked
 * again. `npm run test:image -- --report FILE`. It takes five minutes on two quiet cores, and root and the programs of
 * base.ts. What it leaves behind when it fails, or with `--keep`, is in the folder that it names first.
 */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { globSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { PACKAGES_OF_EVERY_IMAGE } from "../../src/domain/images/definition.ts";
import { projectRoot } from "../../src/runtime/project.ts";
import { DATES, PROBE, RKE2, serveArchive } from "./archive.ts";
import { makeBase } from "./base.ts";
import {
  awaitBake,
  findDefects,
  mutantsOf,
  sealGuest,
  stageSeconds,
  startBake,
  startClone,
  testBake,
  type Verdict,
} from "./bake.ts";
import { checkClones, checkJoin } from "./clones.ts";
import { contentsOf, differencesOf } from "./disk.ts";
import { archiveFaults } from "./faults.ts";
import { doEach, type Machine } from "./machine.ts";

/** What distributions/debian.sh and the definition install beyond the base. */
const INSTALLED = [...PACKAGES_OF_EVERY_IMAGE, "nftables", "systemd-timesyncd", "zstd"];

const { values } = parseArgs({ options: { report: { type: "string" }, keep: { type: "boolean" } } });
const begun = performance.now();
const seconds = (): number => Math.round((performance.now() - begun) / 1000);
const say = (what: string): void => console.log(`${String(seconds()).padStart(4)} s  ${what}`);

const work = mkdtempSync(join(tmpdir(), "evergreen-image-"));
say(`in ${work}`);
checkShell();
const base = makeBase(INSTALLED);
say("the base is there");
const { first, second, archive, definition } = await bakeTwice();
const verdicts = await Promise.all([useSecond(second), useFirst(first)]);
archive.server.close();
const [one, two] = [first, second].map(({ options: { disk } }, index) =>
  contentsOf(disk, join(work, `files-${index}`)),
);
assert.ok(one && two);
const differing = differencesOf(one, two);
say(`of ${one.size} files of both disks, ${differing.length} differ: ${differing.slice(0, 40).join(" ")}`);
const mutants = verdicts.flat();
const missed = mutants.filter(({ check, found }) => found.length !== 1 || found[0] !== check);
for (const one of mutants)
  console.log(`${missed.includes(one) ? "MISSED" : "found "} ${one.check}: ${one.defect} -> ${one.found.join(", ")}`);
const report = {
  bakes: 2,
  equal: differing.length === 0,
  differing,
  mutants: mutants.length,
  mutantsFound: mutants.length - missed.length,
  seconds: seconds(),
};
if (values.report !== undefined) writeFileSync(values.report, `${JSON.stringify(report, null, 2)}\n`);
console.log(JSON.stringify({ ...report, differing: differing.length }));
const isGood = report.equal && missed.length === 0;
if (isGood && values.keep !== true) rmSync(work, { recursive: true, force: true });
process.exit(isGood ? 0 : 1);

/** Bakes the definition in two guests at once. */
async function bakeTwice() {
  const served = join(work, "served");
  mkdirSync(served);
  const archive = await serveArchive(base.packages, served);
  const bake = testBake(archive);
  const first = startBake(bake, base, join(work, "bake-1"));
  // Another day: nothing of the clock may get into the image.
  const second = startBake(bake, base, join(work, "bake-2"), "2027-03-04T05:06:07");
  await Promise.all([first, second].map(awaitBake));
  say(`two guests are baked: ${JSON.stringify(await stageSeconds(first, "bake"))}`);
  assert.equal(await first.agent.sh(`cat /usr/share/${PROBE}/version`), "1.0\n");
  const asked = new Set(archive.requests.map(({ path }) => path.split("/")[2]));
  assert.deepEqual(asked, new Set([DATES.first, RKE2]), "nothing else was asked for");
  return { first, second, archive, definition: bake.definition };
}

/** Tries archives that must fail a bake, seals the guest, and plants defects in it. */
async function useSecond(machine: Machine): Promise<Verdict[]> {
  const tried = await doEach(machine, archiveFaults(archive));
  say(`archives: ${tried.results.join("; ")}`);
  await sealGuest(tried.machine);
  const planted = await doEach(tried.machine, mutantsOf(definition, "sealed"));
  say(`${planted.results.length} defects were planted into a sealed guest`);
  await planted.machine.powerOff();
  return planted.results;
}

/** Seals the guest and clones it twice: one clone joins, and defects are planted in the other one. */
async function useFirst(machine: Machine): Promise<Verdict[]> {
  await sealGuest(machine);
  assert.deepEqual(await findDefects(machine, definition, "sealed"), []);
  say(`sealed, without a defect: ${JSON.stringify(await stageSeconds(machine, "seal"))}`);
  await machine.powerOff();
  const clones = [1, 2].map((number) => startClone(machine.options.disk, base, join(work, `clone-${number}`), number));
  const [joining, other] = clones;
  assert.ok(joining && other);
  await checkClones(clones, definition);
  say("two clones have identities of their own, and nothing else that the image has not");
  const [planted] = await Promise.all([doEach(other, mutantsOf(definition, "clone")), checkJoin(joining, definition)]);
  say(`a clone joined, and ${planted.results.length} defects were planted into the other one`);
  await Promise.all([planted.machine, joining].map((clone) => clone.kill()));
  return planted.results;
}

/** All shell of images/bake/ and of this test passes shellcheck. */
function checkShell(): void {
  const scripts = globSync("{images/bake,test/image}/**/{*.sh,rke2,containerd,crictl,ctr}", { cwd: projectRoot });
  assert.ok(scripts.length > 30);
  const { status, stdout } = spawnSync("shellcheck", ["-x", ...scripts], { cwd: projectRoot, encoding: "utf8" });
  assert.equal(status, 0, stdout);
  say(`shellcheck has nothing to say of ${scripts.length} scripts`);
}
