import { clock, momentNow, msSince, type Moment } from "../../runtime/clock.ts";
import type { Deadline } from "../../runtime/deadline.ts";
import { messageOf, UserError } from "../../runtime/errors.ts";
import { say } from "../../runtime/log.ts";
import type { Kubernetes } from "./client.ts";
import { isConflict, isNotFound } from "./errors.ts";
import { LeaseObserver } from "./lease-observer.ts";
import { lifeSeconds, replace, tryTake, waitForChange, type LeaseRequest, type Taken } from "./lease-requests.ts";
import { paths, type Lease as LeaseObject } from "./types.ts";

/** Our lease was taken or could not be renewed in time: another process may act now, so this one must not. */
export class LeaseLost extends UserError {
  constructor(name: string, why: string) {
    super({
      what: `the lease ${name} was lost: ${why}`,
      where: paths.leases,
      todo: "nothing more was done; look whether another update of the same cluster runs, then run again",
    });
  }
}

/** What may be done while a lease is held. */
export interface Fence {
  /**
   * Throws when the lease is no longer held, or when the run was cancelled: call it right before each irreversible
   * call.
   */
  check(): Promise<void>;
  /** The same, but passes in a cancelled run: for tidying up. */
  requireOwned(): Promise<void>;
}

export interface LeaseOptions extends LeaseRequest {
  /**
   * How long renewal is tried before the lease counts as lost although no other process took it, in seconds.
   * @default four times `seconds`
   */
  patience?: number;
  /** Another process renews the lease; this one renews it only when a `check` requires it. @default false */
  isKept?: boolean;
  /** Cancels the run. */
  stop?: AbortSignal;
  /** Called once when the lease is lost: ends waits for things that this process may no longer change. */
  onLost?: (error: LeaseLost) => void;
}

/**
 * A named lock that one process holds at a time. It is renewed until it is released, and becomes free when its process
 * dies: to take it over, another process must see it unchanged for its whole duration. The holder trusts it for half of
 * that time, and clocks of different machines are never compared. A lease is held as long as it carries our name: after
 * an outage it is renewed, unless another process took it meanwhile.
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
   * Adopts a lease that already carries our name.
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
   * Takes the first of several leases that is free, has expired, or already carries our name; when there is none, it
   * waits by watching.
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
    // The loss comes first: a cancelled run may still tidy up, but after the loss of the lease not even that is
    // allowed.
    await this.requireOwned();
    this.options.stop?.throwIfAborted();
  }

  /**
   * Waits through a short outage of the API: without an answer it is unknown whether the lease is held.
   * @throws LeaseLost when another process may act by now, whether the run was cancelled or not
   */
  async requireOwned(): Promise<void> {
    for (;;) {
      if (this.lost) throw this.lost;
      // After the machine has slept, only the date shows that other processes may have waited for the whole duration.
      if (msSince(this.renewedAt) <= this.seconds * 500) return;
      try {
        await this.renew();
      } catch (error) {
        if (error instanceof LeaseLost || this.options.stop?.aborted) throw error;
        await clock.sleep(this.seconds * 100);
      }
    }
  }

  /** Releases the lease. A lease that cannot be released expires. */
  async release(): Promise<void> {
    // A renewal in progress knows the version to release, and schedules the next renewal when it ends.
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

  /** Seconds since the lease was last known to be ours. */
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
          // Sooner than other processes take it over once the API answers again.
          if (!(error instanceof LeaseLost)) this.schedule(this.seconds / 10);
        },
      );
    });
  }

  /**
   * One renewal at a time: of two with the same version, the second would look as if another process had taken the
   * lease.
   */
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
   * Reads the lease again: another process with the same holder identity may renew it too, and after a lost answer the
   * version is unknown. A lease that was released and taken again is a different lease, even with the same holder.
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
