import assert from "node:assert/strict";
import type { ChildProcess } from "node:child_process";
import { Deadline } from "../../src/runtime/deadline.ts";
import { labBucket } from "../../lab/object-store.ts";
import { toolchain } from "../../tools/index.ts";
import { end, ended, offspring } from "../e2e/processes.ts";
import { Site, type Ran } from "../e2e/site.ts";

const newer = "ubuntu-24.04-rke2-v1.1.0";
const args = ["up", "--yes", "--skip-preview", "--stack", "dev"];

/** Backends that are not `file:///`, each with the prefix of its lab: what a killed run left there is repaired all the same. */
const backends: [string, string, string][] = [
  ["in a directory that is named by its way from the project", "127.79", "file://."],
  [
    "in a bucket",
    "127.80",
    `s3://${labBucket.bucket}/states?region=${labBucket.region}&endpoint=http://127.80.0.3:9000&use_path_style=true`,
  ],
];

for (const [title, prefix, url] of backends) {
  describe(`a stack whose state is ${title}`, function () {
    this.timeout(300_000);
    let site: Site;
    const orphans: number[] = [];

    before(async () => {
      const tools = await toolchain({ parts: ["lab"], quiet: true });
      site = await Site.create(prefix, { objectStore: tools.bin("versitygw") }, () => url);
      await site.configure({ "controlPlane.servers": 1, "pools.0.slots": 2, "pools.0.strategy.surge": 1 });
    });

    after(async () => {
      end(orphans);
      await site.close();
    });

    /** Kills the engine while a clone is there that the provider has not configured yet. @returns the clone's name */
    const killInClone = async (run: { child: ChildProcess }, which: RegExp): Promise<string> => {
      const after = (await site.lab.events()).at(-1)?.number ?? 0;
      const match = "PUT nodes/.*/config";
      await site.lab.call("POST /faults", { kind: "latency", milliseconds: 3000, match });
      const text = await new Deadline("a clone", 90).poll(
        20,
        async () => (await site.lab.events(after)).find((event) => which.test(event.text))?.text,
        () => "",
      );
      const pid = run.child.pid ?? 0;
      orphans.push(...offspring(pid).map((one) => one.pid));
      process.kill(pid, "SIGKILL");
      await ended([pid]);
      await site.lab.call("DELETE /faults", undefined);
      return text.split(" ")[1] ?? "";
    };
    const repaired = ({ code, output }: Ran, half: string): void => {
      assert.equal(code, 0, output);
      assert.match(output, /the lock of engine \d+, which died\n {2}-> cancelled it/);
      assert.match(output, new RegExp(`destroyed the incomplete VM \\d+ \\(${half}\\)`));
    };

    it("is repaired by the next up after its first creation was killed, and goes on", async () => {
      const half = await killInClone(site.startLauncher(args), / demo-servers-\d-\w+ created$/);
      const again = await site.launcher(...args);
      repaired(again, half);
      assert.match(again.output, /an earlier run of stack dev was killed/);
      await site.unchanged();
    });

    it("is repaired by `evergreen up` after a roll was killed, and goes on", async () => {
      await site.configure({ "pools.0.image": newer });
      const half = await killInClone(site.start(args), / demo-workers-\d-\w+ created$/);
      repaired(await site.evergreen("up", "--stack", "dev"), half);
      const repair = await site.evergreen("repair", "--stack", "dev");
      assert.equal(repair.output, "nothing to repair\n");
      await site.unchanged();
    });

    it("is worked on by one of `evergreen up` and `evergreen repair` at a time", async () => {
      await site.configure({ "pools.0.rollout": 1 });
      const up = site.startEvergreen("up", "--stack", "dev");
      await site.until("an update", async () => (await site.lease("update")) !== undefined);
      const repair = await site.evergreen("repair", "--stack", "dev");
      assert.doesNotMatch(repair.output, /destroyed|cancelled|uncordoned/);
      assert.match(repair.output, /is running|waiting: update is held by|nothing to repair/);
      const { code, output } = await up.ended;
      assert.equal(code, 0, output);
      await site.unchanged();
    });
  });
}
