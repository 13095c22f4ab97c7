import { clock, momentNow, msSince, type Moment } from "../../runtime/clock.ts";
import type { Deadline } from "../../runtime/deadline.ts";
import { messageOf, UserError } from "../../runtime/errors.ts";
import { say } from "../../runtime/log.ts";
import type { Kubernetes } from "./client.ts";
import { isConflict, isNotFound } from "./errors.ts";
import { LeaseObserver } from "./lease-observer.ts";
import { lifeSeconds, replace, tryTake, waitForChange, type Taken } from "./lease-requests.ts";
import { paths, type Lease as LeaseObject } from "./types.ts";

/** Our lease was taken or could not be renewed in time: somebody else may act now, so we must not. */
export class LeaseLost extends UserError {
  constructor(name: string, why: string) {
    super({
      what: `the lease ${name} was lost: ${why}`,
      where: paths.leases,
      todo: "nothing more was done; look whether another update of the same cluster runs, then run again",
    });
  }
}

/** What may be done while it holds. */
export interface Fence {
  /** Throws when it does not hold any more, or when the run was cancelled: to be called right before what cannot be undone. */
  check(): Promise<void>;
  /** The same, but a run that was cancelled may go on: to tidy up. */
  requireOwned(): Promise<void>;
}

export interface LeaseOptions {
  /** Who asks, unique for each process: after a crash the same run is somebody else. */
  holder: string;
  /** Life without a renewal, in seconds. @default 15 */
  seconds?: number;
  /**
   * So long it is tried to renew it before it counts as lost although nobody took it, in seconds. @default four lives
   */
  patience?: number;
  /** Somebody else renews it; here that is done only when a `check` wants to know. @default false */
  isKept?: boolean;
  /** Whether a holder is known to live: then it is not taken over, however long nobody has renewed it. */
  isAlive?: (holder: string) => boolean;
  /** Cancels the run. */
  stop?: AbortSignal;
  /** Told once that the lease was lost: to end waits, so that nobody waits for what is not theirs any more. */
  onLost?: (error: LeaseLost) => void;
}

/**
 * A named right that one process has at a time. It is renewed until it is released, and free for others when we die: whoever
 * wants it has to see it unchanged for its whole life. The holder believes in it for half of that, and no clock is compared
 * with another one. Held is what carries our name: after an outage it is renewed, unless somebody took it meanwhile.
 */
export class Lease implements Fence {
  readonly name: string;
  private readonly client: Kubernetes;
  private readonly options: LeaseOptions;
  private readonly seconds: number;
  private held: LeaseObject;
  private renewedAt: Moment;
  private unschedule: (() => void) | undefined;
  private pending: Promise<void> | undefined;
  private renewing: Promise<void> | undefined;
  private lost: LeaseLost | undefined;

  private constructor(client: Kubernetes, name: string, { held, asked }: Taken, options: LeaseOptions) {
    this.client = client;
    this.name = name;
    this.held = held;
    this.renewedAt = asked;
    this.options = options;
    this.seconds = options.seconds ?? lifeSeconds;
    if (!options.isKept) this.schedule(this.seconds / 3);
  }

  /**
   * One that carries our name already.
   * @throws LeaseLost when it does not
   */
  static async adopt(client: Kubernetes, held: LeaseObject, options: LeaseOptions): Promise<Lease> {
    const { holderIdentity: holder = "nobody" } = held.spec ?? {};
    if (holder !== options.holder)
      throw new LeaseLost(held.metadata?.name ?? "", `another process took it (${holder})`);
    const { elapsed, date } = momentNow();
    const asked = { elapsed: elapsed - lifeSeconds * 1000, date };
    const lease = new Lease(client, held.metadata?.name ?? "", { held, asked }, options);
    await lease.requireOwned();
    return lease;
  }

  /**
   * Takes the first of several leases that is free or expired, or already carries our name; waits by watching when none is.
   * @throws DeadlineError that names the holders
   */
  static async take(
    client: Kubernetes,
    names: readonly string[],
    deadline: Deadline,
    options: LeaseOptions,
  ): Promise<Lease> {
    const observer = new LeaseObserver();
    for (;;) {
      deadline.throwIfStopped();
      const others: LeaseObject[] = [];
      for (const name of names) {
        const found = await tryTake(client, name, options, observer);
        if (found === undefined) continue;
        if ("held" in found) return new Lease(client, name, found, options);
        others.push(found);
      }
      await waitForChange(client, names, others, observer, deadline);
    }
  }

  async check(): Promise<void> {
    // Lost comes first: who was cancelled may still tidy up, who lost the lease may not even do that.
    await this.requireOwned();
    this.options.stop?.throwIfAborted();
  }

  /**
   * An API that is away for a moment is waited for: who cannot ask does not know.
   * @throws LeaseLost when somebody else may act by now, whether the run was cancelled or not
   */
  async requireOwned(): Promise<void> {
    for (;;) {
      if (this.lost) throw this.lost;
      // A machine that has slept knows by the date alone that others may have waited for our whole life.
      if (msSince(this.renewedAt) <= this.seconds * 500) return;
      try {
        await this.renew();
      } catch (error) {
        if (error instanceof LeaseLost || this.options.stop?.aborted) throw error;
        await clock.sleep(this.seconds * 100);
      }
    }
  }

  /** Gives it back. What is left of a lease that cannot be given back expires. */
  async release(): Promise<void> {
    // A renewal that is under way knows the version to give back, and schedules the next one when it ends.
    await this.pending?.catch(() => undefined);
    this.unschedule?.();
    if (this.lost) return;
    this.lost = new LeaseLost(this.name, "it was released");
    await this.remove().catch((error: unknown) => {
      say(`the lease ${this.name} could not be released and expires in ${this.seconds} s: ${messageOf(error)}`);
    });
  }

  private async remove(): Promise<void> {
    for (let tries = 1; ; tries += 1) {
      const { uid, resourceVersion = "" } = this.held.metadata ?? {};
      try {
        await this.client.delete(this.path, { ...(uid === undefined ? {} : { uid }), resourceVersion });
        return;
      } catch (error) {
        if (tries === 3 || !isConflict(error)) throw error;
        await this.readOurs();
      }
    }
  }

  /** Seconds since we knew that it is ours. */
  private get age(): number {
    return (clock.elapsed() - this.renewedAt.elapsed) / 1000;
  }

  private get path(): string {
    return `${paths.leases}/${this.name}`;
  }

  private schedule(seconds: number): void {
    this.unschedule = clock.later(seconds * 1000, () => {
      this.pending = this.renew().then(
        () => this.schedule(this.seconds / 3),
        (error: unknown) => {
          say(error instanceof LeaseLost ? error.message : `the lease ${this.name}: ${messageOf(error)}`);
          // Sooner than others lose their patience once the API answers again.
          if (!(error instanceof LeaseLost)) this.schedule(this.seconds / 10);
        },
      );
    });
  }

  /** One at a time: of two that carry the same version, the second would look as if another process had taken it. */
  private renew(): Promise<void> {
    this.renewing ??= this.renewOnce().finally(() => (this.renewing = undefined));
    return this.renewing;
  }

  private async renewOnce(): Promise<void> {
    if (this.lost) throw this.lost;
    try {
      await this.write();
    } catch (error) {
      if (error instanceof LeaseLost || this.age < (this.options.patience ?? 4 * this.seconds)) throw error;
      throw this.lose(messageOf(error));
    }
  }

  private async write(): Promise<void> {
    for (let tries = 1; ; tries += 1) {
      const asked = momentNow();
      try {
        this.held = await replace(this.client, this.held, this.options);
        this.renewedAt = asked;
        return;
      } catch (error) {
        if (tries === 3 || !(isConflict(error) || isNotFound(error))) throw error;
        await this.readOurs();
      }
    }
  }

  /**
   * Reads it again: another process of the same holder may renew it too, and of an answer that was lost the version is not
   * known. One that was given back and taken anew is another one, whoever has it.
   */
  private async readOurs(): Promise<void> {
    const now = await this.client.find<LeaseObject>(this.path);
    if (now === undefined) throw this.lose("somebody deleted it");
    const { holderIdentity = "nobody" } = now.spec ?? {};
    if (holderIdentity !== this.options.holder || now.metadata?.uid !== this.held.metadata?.uid)
      throw this.lose(`another process took it (${holderIdentity})`);
    this.held = now;
  }

  private lose(why: string): LeaseLost {
    if (this.lost === undefined) {
      this.lost = new LeaseLost(this.name, why);
      this.options.onLost?.(this.lost);
    }
    return this.lost;
  }
}
