import assert from "node:assert/strict";
import { hostname } from "node:os";
import { runAlone, unlock } from "../../src/recovery/exclusive-use.ts";
import type { EngineSide } from "../../src/recovery/engine-side.ts";
import type { EngineLock } from "../../src/recovery/engine-state.ts";
import type { OpenStack } from "../../src/observe/open-stack.ts";
import { noteEngine } from "../../src/runtime/engine-notes.ts";
import { identify } from "../../src/runtime/process-identity.ts";
import type { Kubernetes } from "../../src/clients/kubernetes/client.ts";
import { LeaseLost } from "../../src/clients/kubernetes/lease.ts";
import { paths } from "../../src/clients/kubernetes/types.ts";
import { freshCluster, type FakeCluster } from "../clients/kubernetes/fake.ts";
import { picture, smallConfig } from "../support/picture.ts";

describe("a repair", () => {
  let cluster: FakeCluster;
  let client: Kubernetes;
  freshCluster((fresh, itsClient) => ([cluster, client] = [fresh, itsClient]));

  const siteOf = (kubernetes?: Kubernetes) =>
    ({ config: smallConfig(), observed: picture(kubernetes ? { kubernetes } : {}) }) as OpenStack;
  const observe = () => Promise.resolve(picture({}));
  const isHeld = () => cluster.objects.has(`${paths.leases}/update`);

  it("has the lease of an update while it works, and is sure then that no update does", async () => {
    const sure = await runAlone(
      siteOf(client),
      async (fence) => {
        await fence.check();
        assert.ok(isHeld());
        return fence.isSure;
      },
      observe,
    );
    assert.deepEqual([sure, isHeld()], [true, false]);
  });

  it("sees what the update has changed whose lease it waited for", async () => {
    const later = picture({ takenVmids: [4711] });
    const observeLater = () => {
      assert.ok(isHeld(), "it looks before it is alone");
      return Promise.resolve(later);
    };
    assert.equal(await runAlone(siteOf(client), (_, { observed }) => Promise.resolve(observed), observeLater), later);
  });

  it("gives the lease back when it fails", async () => {
    const failed = runAlone(siteOf(client), () => Promise.reject(new Error("Proxmox does not answer")), observe);
    await assert.rejects(failed, /Proxmox does not answer/);
    assert.ok(!isHeld());
  });

  it("stops once somebody else has the lease", async () => {
    const lost = runAlone(
      siteOf(client),
      async (fence) => {
        cluster.remove(`${paths.leases}/update`);
        // Until the next renewal.
        for (;;) {
          await fence.check();
          await new Promise((resolve) => setTimeout(resolve, 100));
        }
      },
      observe,
    );
    await assert.rejects(lost, LeaseLost);
  });

  it("is not sure that no update runs where there is no cluster to say so", async () => {
    assert.equal(await runAlone(siteOf(), (fence) => Promise.resolve(fence.isSure)), false);
  });
});

describe("the locks of a stack that is to be repaired", () => {
  const self = identify(process.pid);
  assert.ok(self);
  noteEngine(self);
  // Of a pid that a younger process has.
  noteEngine({ ...self, pid: process.ppid, start: 1 });
  const lock = (pid: number): EngineLock => ({
    pid,
    hostname: hostname(),
    username: "ops",
    timestamp: new Date().toISOString(),
  });
  const [dead, living] = [lock(process.ppid), lock(process.pid)];

  const unlocked = async (locks: EngineLock[] | undefined, lost?: Error) => {
    let cancelled = 0;
    const engine = {
      readLocks: () => Promise.resolve(locks),
      cancel: () => Promise.resolve(void (cancelled += 1)),
    } as unknown as EngineSide;
    const fence = { check: () => (lost ? Promise.reject(lost) : Promise.resolve()), isSure: false };
    const said: string[] = [];
    const ending = await unlock(engine, "dev", fence, (what, how) => said.push(`${what} -> ${how}`)).catch(String);
    return { ending, cancelled, isSure: fence.isSure, said };
  };

  const cases: [when: string, locks: EngineLock[] | undefined, sure: boolean][] = [
    ["the backend does not say who has it", undefined, false],
    ["nobody has it", [], true],
  ];
  for (const [when, locks, isSure] of cases)
    it(`${isSure ? "make" : "do not make"} it sure that no update runs when ${when}`, async () => {
      assert.deepEqual(await unlocked(locks), { ending: 0, cancelled: 0, isSure, said: [] });
    });

  it("are taken away, each named, when their engines have died", async () => {
    const { ending, cancelled, said } = await unlocked([dead]);
    assert.deepEqual([ending, cancelled], [1, 1]);
    assert.match(said.join(), /^the lock of engine \d+, which died -> cancelled it/);
  });

  it("stay, all of them, when one engine may live", async () => {
    const { ending, cancelled } = await unlocked([dead, living]);
    assert.match(String(ending), /an update of stack dev is running/);
    assert.equal(cancelled, 0);
  });

  it("stay when somebody else may be at work by now", async () => {
    const { ending, cancelled } = await unlocked([dead], new LeaseLost("update", "another process took it"));
    assert.match(String(ending), /was lost/);
    assert.equal(cancelled, 0);
  });
});
