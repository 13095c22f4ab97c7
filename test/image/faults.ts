/** Archives that must fail a bake, tried with the apt of a real guest that was baked and is not sealed yet. */
import assert from "node:assert/strict";
import { BAKE_DIRECTORY, commandOf, filesOf, resultOf, type StageResult } from "../../src/domain/images/stages.ts";
import { DATES, PROBE, type Archive } from "./archive.ts";
import type { Machine } from "./machine.ts";

/** @returns what each tries, and says in words */
export function archiveFaults({ snapshots }: Archive): ((guest: Machine) => Promise<string>)[] {
  const faults: [what: string, prepare: string, message: RegExp][] = [
    ["a date that is not there", `echo "ARCHIVE='${snapshots}/20260401T000000Z'" >>settings`, /apt-get .* update$/],
    ["lists that a strange key signed", "rm archive-key.asc", /apt-get .* update$/],
    [
      "a second archive",
      `echo 'Dir::Etc::sourcelist "/root/more.list";' >/etc/apt/apt.conf.d/99-more &&
       echo "deb [trusted=yes] ${snapshots}/${DATES.second} trixie main" >/root/more.list`,
      /^refuse apt uses other archives/,
    ],
  ];
  return [
    ...faults.map(([what, prepare, message]) => async (guest: Machine) => {
      const result = await takeArchive(guest, prepare);
      assert.ok(result.status === "failed", what);
      assert.match(result.command, message, `${what}: ${result.output.join("\n")}`);
      return `${what} fails`;
    }),
    async (guest) => {
      const result = await takeArchive(guest, `echo "ARCHIVE='${snapshots}/${DATES.second}'" >>settings`);
      assert.deepEqual(result, { status: "ok" });
      assert.match(await guest.agent.sh(`apt-cache policy ${PROBE}`), /Installed: 1\.0\n +Candidate: 2\.0\n/);
      return "the second date has its own package, and not today's";
    },
  ];
}

/** Runs the stage that takes an archive once more. @param prepare what is changed before, in the directory of the bake */
async function takeArchive({ agent }: Machine, prepare: string): Promise<StageResult> {
  await agent.sh(`cd ${BAKE_DIRECTORY} && rm -rf site-sources && ${prepare} && echo 'archive 120' >lists/stages.bake`);
  await agent.run(commandOf("bake"), { seconds: 180 });
  return resultOf((await agent.readFile(filesOf("bake").result)) ?? "");
}
