import assert from "node:assert/strict";
import { setImmediate as nextTurn } from "node:timers/promises";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { Kubernetes } from "../../src/clients/kubernetes/client.ts";
import { clock } from "../../src/runtime/clock.ts";
import { World } from "./world.ts";

/** A world in which a process is killed while it waits for an answer. */
async function playKilledWait(): Promise<WeakRef<World>> {
  const world = new World({ seed: 1, images: [], workloads: [], told: false });
  await world.run(async () => {
    const process = world.process("waits");
    const ending = process.run(async () => {
      const kube = new Kubernetes({ server: "https://10.0.0.5:6443" });
      await kube.isReady(AbortSignal.any([process.stop, clock.timeout(60_000)]));
    });
    process.kill();
    await ending;
  });
  return new WeakRef(world);
}

describe("the memory of the simulation", () => {
  it("keeps no world that is over, whatever was killed in it: a session plays a hundred thousand", async () => {
    const played = await playKilledWait();
    setFlagsFromString("--expose-gc");
    const collectGarbage = runInNewContext("gc") as () => void;
    await nextTurn();
    collectGarbage();
    assert.ok(played.deref() === undefined);
  });
});
