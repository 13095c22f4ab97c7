import { clock } from "../../runtime/clock.ts";
import { Deadline } from "../../runtime/deadline.ts";
import { messageOf } from "../../runtime/errors.ts";
import { unhealthyReason, type ServerProbe } from "./control-plane.ts";

/** Time between two checks, in milliseconds. */
const paceMs = 5_000;
/** Longest time of one check, in seconds: an election is over by then. */
const lookSeconds = 15;

/**
 * Watches the servers that were healthy before while another server joins. etcd admits no member while one of them is
 * down, which takes time from the server that waits to join. A single check at the end would miss a server that is back
 * by then.
 */
export class Disturbance {
  /** Total time between consecutive checks that both found them unhealthy or could not see them, in milliseconds. */
  private ms = 0;
  private why = "";
  private readonly ended = new AbortController();

  constructor(probe: ServerProbe, names: ReadonlySet<string>, stop: AbortSignal) {
    // Checks run one after the other until the wait is over. The watch ends with the wait, and its failure fails no
    // step.
    if (names.size > 0)
      void this.watch(probe, names, AbortSignal.any([stop, this.ended.signal])).catch(() => undefined);
  }

  /** The reason, when the servers were unhealthy for more than so many seconds; undefined: they were not. */
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
      // A single failed check has no known duration: a lost answer takes no time from the server that joins.
      if (why !== undefined && !wasCalm) [this.ms, this.why] = [this.ms + now - before, why];
      [before, wasCalm] = [now, why === undefined];
    }
  }
}
