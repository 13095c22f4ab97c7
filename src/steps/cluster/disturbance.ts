import { clock } from "../../runtime/clock.ts";
import { Deadline } from "../../runtime/deadline.ts";
import { messageOf } from "../../runtime/errors.ts";
import { unhealthyReason, type ServerProbe } from "./control-plane.ts";

/** Time between two looks, in milliseconds. */
const paceMs = 5_000;
/** How long one look may take, in seconds: an election is over by then. */
const lookSeconds = 15;

/**
 * Looks, while a server comes, at those that were calm before: etcd lets in nobody while one of them is away, and whoever waits
 * for that has less time left. What the last look alone says is too late for one that is back by then.
 */
export class Disturbance {
  /** For how long, by two looks in a row, they were not calm, or could not be seen, in milliseconds. */
  private ms = 0;
  private why = "";
  private readonly ended = new AbortController();

  constructor(probe: ServerProbe, names: ReadonlySet<string>, stop: AbortSignal) {
    // One look after the other, until the wait is over: it ends with it, and fails nobody.
    if (names.size > 0)
      void this.watch(probe, names, AbortSignal.any([stop, this.ended.signal])).catch(() => undefined);
  }

  /** What took more than so many seconds from whoever came; undefined: nothing did. */
  longerThan(seconds: number): string | undefined {
    return this.ms > seconds * 1000 ? `for ${Math.round(this.ms / 1000)} s of that time ${this.why}` : undefined;
  }

  end(): void {
    this.ended.abort();
  }

  private async watch(probe: ServerProbe, names: ReadonlySet<string>, signal: AbortSignal): Promise<void> {
    let wasCalm = true;
    for (let before = clock.elapsed(); ;) {
      await clock.sleep(paceMs, signal);
      const seen = await probe(new Deadline("the other servers", lookSeconds, signal).signal()).catch(messageOf);
      signal.throwIfAborted();
      const why = unhealthyReason(seen, names);
      const now = clock.elapsed();
      // Of one look alone nobody knows for how long it was true: an answer that was lost takes no time from anybody.
      if (why !== undefined && !wasCalm) [this.ms, this.why] = [this.ms + now - before, why];
      [before, wasCalm] = [now, why === undefined];
    }
  }
}
