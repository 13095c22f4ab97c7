import { clock } from "../../runtime/clock.ts";
import type { Kubernetes } from "./client.ts";
import { paths, type Lease } from "./types.ts";

/** A version of a lease, and since when it has been seen unchanged. */
interface Sight {
  version: string;
  since: number;
  /** When it was first seen unchanged after its whole duration. */
  over: number | undefined;
}

/**
 * Judges whether a lease is still renewed, as client-go does: by watching it for its whole duration, with our own clock
 * only. The times in the lease come from other machines, whose clocks may differ by more than its duration.
 */
export class LeaseObserver {
  private readonly sights = new Map<string, Sight>();

  /**
   * Milliseconds until the lease may be taken over if it is not renewed; 0: now. After its duration the holder gets a
   * last chance: an unavailable API kept it from renewing, and it renews within less than a fifth of the duration once
   * the API is back.
   */
  left(lease: Lease): number {
    const { leaseDurationSeconds: seconds, holderIdentity } = lease.spec ?? {};
    if (!holderIdentity || seconds === undefined || !(seconds > 0)) return 0;
    const sight = this.see(lease);
    const now = clock.elapsed();
    const life = sight.since + seconds * 1000 - now;
    if (life > 0) return life + seconds * 200;
    sight.over ??= now;
    return Math.max(0, sight.over + seconds * 200 - now);
  }

  /** Notes the current version of the lease. */
  see(lease: Lease): Sight {
    const [name, version] = [nameOf(lease), versionOf(lease)];
    const known = this.sights.get(name);
    if (known?.version === version) return known;
    const sight = { version, since: clock.elapsed(), over: undefined };
    this.sights.set(name, sight);
    return sight;
  }
}

/** Longest time that leases are watched, in seconds: a lease that declares a longer duration counts as held. */
const longestSeconds = 60;

/** The leases of the cluster, by whether they are still renewed. */
export interface Lives {
  /** Leases that were not renewed for their whole duration. */
  expired: Lease[];
  /** Names of the leases that are renewed, or may be. */
  held: ReadonlySet<string>;
}

/** Watches all leases until it is known which of them are renewed; returns at once when there are none. */
export async function observeLeases(client: Kubernetes, except: readonly string[] = []): Promise<Lives> {
  const observer = new LeaseObserver();
  const end = clock.elapsed() + longestSeconds * 1000;
  const look = async () =>
    (await client.list<Lease>(paths.leases)).items.filter((lease) => !except.includes(nameOf(lease)));
  let leases = await look();
  const first = new Map(leases.map((lease) => [nameOf(lease), versionOf(lease)]));
  for (;;) {
    // A lease that was created since then is held, too.
    const unchanged = leases.filter((lease) => first.get(nameOf(lease)) === versionOf(lease));
    const left = new Map(unchanged.map((lease) => [lease, observer.left(lease)]));
    const longest = Math.max(0, ...left.values());
    if (longest === 0 || clock.elapsed() >= end) {
      const expired = unchanged.filter((lease) => left.get(lease) === 0);
      return { expired, held: new Set(leases.filter((lease) => !expired.includes(lease)).map(nameOf)) };
    }
    await clock.sleep(Math.max(20, Math.min(longest, 1000)));
    leases = await look();
  }
}

const nameOf = ({ metadata }: Lease): string => metadata?.name ?? "";

/** The uid tells a lease that was released and taken again from the earlier one. */
const versionOf = ({ metadata }: Lease): string => `${metadata?.uid ?? ""}/${metadata?.resourceVersion ?? ""}`;
