import { clock } from "../common/clock.ts";
import type { Deadline } from "../common/deadline.ts";
import { Deadline as Until, DeadlineError } from "../common/deadline.ts";
import { messageOf, UserError } from "../common/errors.ts";
import { say } from "../common/log.ts";
import type { Kubernetes } from "./client.ts";
import { isConflict, KubernetesError } from "./errors.ts";
import { createOurs } from "./namespace.ts";
import { paths, type Lease as LeaseObject } from "./types.ts";
import { until } from "./watch.ts";

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
}

export interface LeaseOptions {
  /** Who asks, unique for each process: after a crash the same run is somebody else. */
  holder: string;
  /** Life without a renewal, in seconds. @default 15 */
  seconds?: number;
  /** Cancels the run. */
  stop?: AbortSignal;
  /** Told once that the lease was lost: to end waits, so that nobody waits for what is not theirs any more. */
  onLost?: (error: LeaseLost) => void;
}

/** A named right that one process has at a time. It is renewed until it is released, and free for others when we die. */
export class Lease implements Fence {
  readonly name: string;
  private readonly client: Kubernetes;
  private readonly options: LeaseOptions;
  private readonly seconds: number;
  private version: string;
  private renewedAt = clock.elapsed();
  private unschedule: (() => void) | undefined;
  private pending: Promise<void> | undefined;
  private renewing: Promise<void> | undefined;
  private lost: LeaseLost | undefined;

  private constructor(client: Kubernetes, name: string, version: string, options: LeaseOptions) {
    this.client = client;
    this.name = name;
    this.version = version;
    this.options = options;
    this.seconds = options.seconds ?? lifeSeconds;
    this.schedule();
  }

  /**
   * Takes the first of several leases that is free or expired; waits by watching when none is.
   * @throws DeadlineError that names the holders
   */
  static async take(
    client: Kubernetes,
    names: readonly string[],
    deadline: Deadline,
    options: LeaseOptions,
  ): Promise<Lease> {
    for (;;) {
      deadline.throwIfStopped();
      const held: LeaseObject[] = [];
      for (const name of names) {
        const taken = await tryTake(client, name, options);
        if (typeof taken === "string") return new Lease(client, name, taken, options);
        if (taken) held.push(taken);
      }
      await waitForChange(client, names, held, deadline);
    }
  }

  async check(): Promise<void> {
    // Lost comes first: who was cancelled may still tidy up, who lost the lease may not even do that.
    await this.requireOwned();
    this.options.stop?.throwIfAborted();
  }

  /** @throws LeaseLost when somebody else may act by now, whether the run was cancelled or not */
  async requireOwned(): Promise<void> {
    if (this.lost) throw this.lost;
    const age = (clock.elapsed() - this.renewedAt) / 1000;
    if (age > this.seconds / 2) await this.renew();
  }

  /** Gives it back. What is left of a lease that cannot be given back expires. */
  async release(): Promise<void> {
    this.unschedule?.();
    await this.pending?.catch(() => undefined);
    if (this.lost) return;
    this.lost = new LeaseLost(this.name, "it was released");
    await this.client
      .delete(`${paths.leases}/${this.name}`, { resourceVersion: this.version })
      .catch((error: unknown) => {
        say(`the lease ${this.name} could not be released and expires in ${this.seconds} s: ${messageOf(error)}`);
      });
  }

  private schedule(): void {
    this.unschedule = clock.later((this.seconds * 1000) / 3, () => {
      this.pending = this.renew().then(
        () => this.schedule(),
        (error: unknown) => {
          say(messageOf(error));
          if (!(error instanceof LeaseLost)) this.schedule();
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
    const asked = clock.elapsed();
    try {
      const path = `${paths.leases}/${this.name}`;
      const lease = await this.client.replace<LeaseObject>(path, {
        ...body(this.client, this.name, this.options.holder, this.seconds),
        metadata: { name: this.name, resourceVersion: this.version },
      });
      this.version = lease.metadata?.resourceVersion ?? "";
      this.renewedAt = asked;
    } catch (error) {
      const taken = error instanceof KubernetesError && (error.status === 409 || error.status === 404);
      const over = clock.elapsed() - this.renewedAt > this.seconds * 1000;
      if (!taken && !over) throw error;
      this.lost = new LeaseLost(this.name, taken ? "another process took it" : messageOf(error));
      this.options.onLost?.(this.lost);
      throw this.lost;
    }
  }
}

const lifeSeconds = 15;
/** Clocks are compared by a header that has whole seconds. */
const marginMs = 1_500;

function body(client: Kubernetes, name: string, holder: string, seconds: number): LeaseObject {
  return {
    apiVersion: "coordination.k8s.io/v1",
    kind: "Lease",
    metadata: { name },
    spec: { holderIdentity: holder, leaseDurationSeconds: seconds, renewTime: micro(client.now()) },
  };
}

/** Kubernetes wants microseconds. */
function micro(date: Date): string {
  return date.toISOString().replace("Z", "000Z");
}

/** @returns the version of the lease that is ours now; or the lease of its holder; or undefined when it changed meanwhile */
async function tryTake(
  client: Kubernetes,
  name: string,
  { holder, seconds = lifeSeconds }: LeaseOptions,
): Promise<string | LeaseObject | undefined> {
  const wanted = body(client, name, holder, seconds);
  try {
    return (await createOurs<LeaseObject>(client, paths.leases, wanted)).metadata?.resourceVersion ?? "";
  } catch (error) {
    if (!isConflict(error)) throw error;
  }
  const path = `${paths.leases}/${name}`;
  const lease = await client.find<LeaseObject>(path);
  if (lease === undefined) return undefined;
  if (!isExpired(client, lease)) return lease;
  say(`the lease ${name} of ${lease.spec?.holderIdentity ?? "nobody"} has expired and is taken over`);
  try {
    const resourceVersion = lease.metadata?.resourceVersion ?? "";
    const taken = await client.replace<LeaseObject>(path, {
      ...body(client, name, holder, seconds),
      metadata: { name, resourceVersion },
    });
    return taken.metadata?.resourceVersion ?? "";
  } catch (error) {
    if (isConflict(error) || (error instanceof KubernetesError && error.status === 404)) return undefined;
    throw error;
  }
}

/** Nobody renews it any more, and it may be taken over: nobody calls it expired before that. */
export function isExpired(client: Pick<Kubernetes, "now">, lease: LeaseObject): boolean {
  return !(expiresIn(client, lease) > 0);
}

/** Milliseconds until a lease may be taken over, by the clock of the API server. */
function expiresIn(client: Pick<Kubernetes, "now">, lease: LeaseObject): number {
  const { renewTime, leaseDurationSeconds, holderIdentity } = lease.spec ?? {};
  if (!holderIdentity || renewTime === undefined || leaseDurationSeconds === undefined) return 0;
  const end = Date.parse(renewTime) + leaseDurationSeconds * 1000 + marginMs;
  return Math.max(0, end - client.now().getTime());
}

/** Waits until one of the leases that are held was given back, or may be taken over. */
async function waitForChange(
  client: Kubernetes,
  names: readonly string[],
  held: readonly LeaseObject[],
  deadline: Deadline,
): Promise<void> {
  if (held.length < names.length) return;
  const holders = held.map((lease) => `${lease.metadata?.name ?? ""} is held by ${lease.spec?.holderIdentity ?? ""}`);
  if (deadline.passed) throw deadline.error(holders.join("; "));
  say(`waiting: ${holders.join("; ")}`);
  const expiry = Math.min(...held.map((lease) => expiresIn(client, lease)), deadline.left);
  try {
    await until<LeaseObject, true>(
      client,
      {
        path: paths.leases,
        ...(names.length === 1 ? { query: { fieldSelector: `metadata.name=${names[0] ?? ""}` } } : {}),
      },
      new Until("a lease", (expiry + 50) / 1000),
      (seen) =>
        names.every((name) => [...seen.values()].some((lease) => lease.metadata?.name === name)) ? undefined : true,
    );
  } catch (error) {
    deadline.throwIfStopped();
    if (!(error instanceof DeadlineError)) throw error;
  }
}
