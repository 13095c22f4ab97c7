import assert from "node:assert/strict";
import { fast } from "../../../../lab/profiles.ts";
import { Bench } from "../bench.ts";
import { deviations } from "./deviations.ts";
import { recordings } from "./fixture.ts";
import type { Exchange, Recording } from "./fixture.ts";
import { followNote, providerHooks, providerSite, sessionHooks, sessionSite } from "./hooks.ts";
import { siteHooks, siteOf } from "./sites.ts";
import { Player } from "./player.ts";
import type { Hooks, Outcome } from "./player.ts";

/** Waits a fiftieth of the real ones: the recordings hold still while they pass. */
const timing = {
  lockWait: 1000,
  cloneLockWait: 50,
  authDelay: 10,
  agentWait: 40,
  statusInterval: 3_600_000,
  second: 5,
  fork: 1,
  restartDelay: 300,
};

const profile = { ...fast, cloneLock: 10, fullClone: 100, start: 5, destroy: 5 };

/** A shutdown that waits while the recording goes on. */
const longTasks = new Set(["destroy-deaf-guest/21"]);

async function replay(
  port: number,
  version: Recording["version"],
  exchanges: Exchange[],
  hooks: Hooks,
  seed: (bench: Bench) => Promise<void> | void,
): Promise<Outcome[]> {
  // The statistics are renewed by hand, as the recording shows them.
  const bench = await Bench.start(port, { version, timing, profile });
  bench.host.bootMs = 3_600_000;
  try {
    await seed(bench);
    const player = new Player(bench, hooks, longTasks);
    const outcomes: Outcome[] = [];
    for (const exchange of exchanges) {
      followNote(bench, exchange.note);
      outcomes.push(await player.play(exchange));
    }
    return [...outcomes, ...(await player.finish(exchanges))];
  } finally {
    await bench.stop();
  }
}

/** Every deviation is listed, and every listed one still deviates. */
function judge(version: string, outcomes: Outcome[]): void {
  const found = outcomes.filter((outcome) => outcome.deviations.length > 0);
  const unlisted = found.filter(({ id }) => !(`${version} ${id}` in deviations));
  const ids = new Set(outcomes.map(({ id }) => id));
  const healed = Object.keys(deviations)
    .filter((name) => name.startsWith(`${version} `) && ids.has(name.slice(version.length + 1)))
    .filter((name) => !found.some(({ id }) => `${version} ${id}` === name));
  const lines = unlisted.map(({ id, deviations: texts }) => `${id}: ${texts.join("; ")}`);
  assert.deepEqual(lines, [], "deviations that are not listed");
  assert.deepEqual(healed, [], "listed deviations that are none any more");
}

describe("recordings of the real API", () => {
  for (const version of ["8.4", "9.2"] as const) {
    const all = recordings(version);

    it(`${version}: one long session by hand`, async function () {
      this.timeout(180_000);
      const session = [...all.values()]
        .filter(({ file }) => /^[0-4]-/.test(file))
        .flatMap(({ exchanges }) => exchanges);
      judge(version, await replay(28_130, version, session, sessionHooks, sessionSite));
    });

    for (const { file, exchanges } of all.values()) {
      if (/^[0-4]-/.test(file)) continue;
      const isSite = /^[789]-/.test(file);
      it(`${version}: ${file}`, async function () {
        this.timeout(180_000);
        if (isSite) {
          const seed = (bench: Bench) => siteOf(bench, file);
          judge(version, await replay(28_131, version, exchanges, siteHooks, seed));
          return;
        }
        judge(
          version,
          await replay(28_131, version, exchanges, providerHooks, (bench) => providerSite(bench, file.slice(11))),
        );
      });
    }
  }
});
