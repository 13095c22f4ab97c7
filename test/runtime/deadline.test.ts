import assert from "node:assert/strict";
import { Deadline, DeadlineError } from "../../src/runtime/deadline.ts";

describe("a deadline", () => {
  it("gives what the probe answers, after as many probes as it takes", async () => {
    let probes = 0;
    const answer = await new Deadline("three probes", 5).poll(1, () => {
      probes += 1;
      return Promise.resolve(probes === 3 ? "done" : undefined);
    });
    assert.deepEqual([answer, probes], ["done", 3]);
  });

  it("takes false, 0 and the empty text for answers", async () => {
    for (const answer of [false, 0, ""])
      assert.equal(await new Deadline("an answer", 1).poll(1, () => Promise.resolve(answer)), answer);
  });

  it("says what was waited for, how long, what stood in the way, and what to do", async () => {
    const late = new Deadline("a pod to leave", 0.03).poll(
      10,
      () => Promise.resolve(undefined),
      () => "budget web allows none",
    );
    await assert.rejects(late, (error: unknown) => {
      assert.ok(error instanceof DeadlineError);
      assert.equal(error.problem.what, "gave up after 0 s waiting for a pod to leave");
      assert.equal(error.problem.where, "budget web allows none");
      return error.problem.todo !== "";
    });
    assert.equal(new Deadline("x", 90).error().problem.where, "nothing was reported");
  });

  it("does not probe again when the next probe would come too late", async () => {
    let probes = 0;
    const began = performance.now();
    await assert.rejects(
      new Deadline("one probe", 1).poll(5000, () => {
        probes += 1;
        return Promise.resolve(undefined);
      }),
      DeadlineError,
    );
    assert.equal(probes, 1);
    assert.ok(performance.now() - began < 1000);
  });

  it("lets the pause grow by the number of probes", async () => {
    const asked: number[] = [];
    await new Deadline("growth", 5).poll(
      (probes) => {
        asked.push(probes);
        return 1;
      },
      () => Promise.resolve(asked.length === 3 ? true : undefined),
    );
    assert.deepEqual(asked, [1, 2, 3]);
  });

  it("ends at once with the probe's error, and never hides it", async () => {
    const failing = new Deadline("x", 5).poll(1, () => Promise.reject(new Error("refused")));
    await assert.rejects(failing, /^Error: refused$/);
  });

  it("ends with the reason of a cancelled run", async () => {
    const stop = new AbortController();
    const deadline = new Deadline("x", 60, stop.signal);
    const waiting = deadline.poll(1, () => {
      stop.abort(new Error("Ctrl-C"));
      return Promise.resolve(undefined);
    });
    await assert.rejects(waiting, /Ctrl-C/);
    assert.equal(deadline.signal().aborted, true);
    assert.throws(() => {
      deadline.throwIfStopped();
    }, /Ctrl-C/);
  });

  it("has no time left once it has passed, and never less", () => {
    const over = new Deadline("x", -1);
    assert.deepEqual([over.left, over.passed], [0, true]);
    assert.equal(new Deadline("x", 60).passed, false);
  });
});
