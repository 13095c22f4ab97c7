import { momentNow, type Moment } from "../../runtime/clock.ts";
import { Deadline, DeadlineError } from "../../runtime/deadline.ts";
import { say } from "../../runtime/log.ts";
import type { Kubernetes } from "./client.ts";
import { isConflict, isNotFound, KubernetesUnreachable } from "./errors.ts";
import { LeaseObserver } from "./lease-observer.ts";
import { createOurs } from "./namespace.ts";
import { paths, type Lease as LeaseObject } from "./types.ts";
import { waitUntil } from "./watch.ts";

/** Default duration of a lease without a renewal, in seconds. */
export const lifeSeconds = 15;

/** A lease that we hold, and when it was requested. */
export interface Taken {
  held: LeaseObject;
  asked: Moment;
}

/** By which name a lease is asked for, and how long it is trusted. */
export interface LeaseRequest {
  /** Identity of the holder, unique for each process: after a crash the same run has another identity. */
  holder: string;
  /** Duration without a renewal, in seconds. @default 15 */
  seconds?: number;
  /** Whether a holder is known to be alive: its lease is then not taken over, however long it was not renewed. */
  isAlive?: (holder: string) => boolean;
}

function body(client: Kubernetes, name: string, { holder, seconds = lifeSeconds }: LeaseRequest): LeaseObject {
  return {
    apiVersion: "coordination.k8s.io/v1",
    kind: "Lease",
    metadata: { name },
    // The time is for readers: it is never compared.
    spec: { holderIdentity: holder, leaseDurationSeconds: seconds, renewTime: micro(client.now()) },
  };
}

/** Kubernetes requires microseconds. */
function micro(date: Date): string {
  return date.toISOString().replace("Z", "000Z");
}

/** Writes our name into the lease, only if it still has the version that was read. */
export async function replace(client: Kubernetes, seen: LeaseObject, options: LeaseRequest): Promise<LeaseObject> {
  const { name = "", uid, resourceVersion = "" } = seen.metadata ?? {};
  const metadata = { name, ...(uid === undefined ? {} : { uid }), resourceVersion };
  return await client.replace<LeaseObject>(`${paths.leases}/${name}`, { ...body(client, name, options), metadata });
}

/** @returns the lease that we hold now; or the lease of another holder; or undefined when it changed meanwhile */
export async function tryTake(
  client: Kubernetes,
  name: string,
  options: LeaseRequest,
  observer: LeaseObserver,
): Promise<Taken | LeaseObject | undefined> {
  const asked = momentNow();
  try {
    return { held: await createOurs<LeaseObject>(client, paths.leases, body(client, name, options)), asked };
  } catch (error) {
    // After a lost answer it is unknown whether the lease was created: its holder is read next.
    if (!isConflict(error) && !(error instanceof KubernetesUnreachable)) throw error;
  }
  const lease = await client.find<LeaseObject>(`${paths.leases}/${name}`);
  if (lease === undefined) return undefined;
  const ours = lease.spec?.holderIdentity === options.holder;
  if (!ours && (observer.left(lease) > 0 || options.isAlive?.(lease.spec?.holderIdentity ?? ""))) return lease;
  if (!ours) say(`the lease ${name} of ${lease.spec?.holderIdentity ?? "nobody"} has expired and is taken over`);
  try {
    return { held: await replace(client, lease, options), asked };
  } catch (error) {
    if (isConflict(error) || isNotFound(error)) return undefined;
    throw error;
  }
}

/** Waits until one of the held leases was released, or may be taken over. */
export async function waitForChange(
  client: Kubernetes,
  names: readonly string[],
  held: readonly LeaseObject[],
  observer: LeaseObserver,
  deadline: Deadline,
): Promise<void> {
  if (held.length < names.length) return;
  const holders = held.map((lease) => `${lease.metadata?.name ?? ""} is held by ${lease.spec?.holderIdentity ?? ""}`);
  if (deadline.passed) throw deadline.error(holders.join("; "));
  say(`waiting: ${holders.join("; ")}`);
  // A lease that has expired although its holder is alive is checked again from time to time.
  const expiry = Math.min(...held.map((lease) => observer.left(lease) || 1000), deadline.left);
  try {
    await waitUntil<LeaseObject, true>(
      client,
      {
        path: paths.leases,
        ...(names.length === 1 ? { query: { fieldSelector: `metadata.name=${names[0] ?? ""}` } } : {}),
      },
      new Deadline("a lease", (expiry + 50) / 1000),
      (seen) => {
        const leases = [...seen.values()].filter(({ metadata }) => names.includes(metadata?.name ?? ""));
        for (const lease of leases) observer.see(lease);
        return leases.length === names.length ? undefined : true;
      },
    );
  } catch (error) {
    deadline.throwIfStopped();
    if (!(error instanceof DeadlineError)) throw error;
  }
}
