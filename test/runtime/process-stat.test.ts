import assert from "node:assert/strict";
import { processStat, running } from "../../src/runtime/process-stat.ts";
import { makeZombie } from "../support/zombie.ts";

describe("the kernel's word of a process", () => {
  it("tells the parent and the start of one that runs", () => {
    const own = running(process.pid);
    assert.equal(own?.parent, process.ppid);
    const parent = running(process.ppid);
    assert.ok(parent && parent.start <= own.start, `${parent?.start} ${own.start}`);
  });

  it("knows one that has ended and that nobody has asked: it does not run", async () => {
    const { pid, parent, end } = await makeZombie();
    try {
      assert.equal(running(pid), undefined);
      assert.equal(processStat(pid)?.parent, parent);
    } finally {
      end();
    }
  });

  it("is nothing when there is no such process", () => {
    for (const pid of [0, -1, 2 ** 30, Number.NaN]) assert.equal(processStat(pid), undefined, String(pid));
  });
});
