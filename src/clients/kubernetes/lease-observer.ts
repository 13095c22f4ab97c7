import { clock } from "../../runtime/clock.ts";
import type { Kubernetes } from "./client.ts";
import { paths, type Lease } from "./types.ts";

/** A lease as it was first seen, and since when it has not changed. */
interface Sight {
  version: string;
  since: number;
  /** When it was seen unchanged after its whole life. */
  over: number | undefined;
}

/**
 * Tells whether somebody renews a lease as client-go does: by looking at it for its whole life, with no clock but our own.
 * The times in it are of other machines, whose clocks may be apart by more than a lease lives.
 */
export class LeaseObserver {
  private readonly sights = new Map<string, Sight>();

  /**
   * Milliseconds until the lease may be taken over, if nobody renews it; 0: now. Its holder is given a last moment after
   * that: an API that was away kept it from renewing, and it does so sooner than within a fifth of its life.
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

  /** Notes how it is now. */
  see(lease: Lease): Sight {
    const [name, version] = [nameOf(lease), versionOf(lease)];
    const known = this.sights.get(name);
    if (known?.version === version) return known;
    const sight = { version, since: clock.elapsed(), over: undefined };
    this.sights.set(name, sight);
    return sight;
  }
}

/** Longest time that leases are looked at, in seconds: one that claims to live longer than that is held. */
const longestSeconds = 60;

/** Who answers for what is in the cluster. */
export interface Lives {
  /** Nobody renewed them for their whole life. */
  expired: Lease[];
  /** Names of those that are renewed, or may be. */
  held: ReadonlySet<string>;
}

/** Looks at all leases for as long as it takes to know which of them are renewed: not at all where there is none. */
export async function observeLeases(client: Kubernetes, except: readonly string[] = []): Promise<Lives> {
  const observer = new LeaseObserver();
  const end = clock.elapsed() + longestSeconds * 1000;
  const look = async () =>
    (await client.list<Lease>(paths.leases)).items.filter((lease) => !except.includes(nameOf(lease)));
  let leases = await look();
  const first = new Map(leases.map((lease) => [nameOf(lease), versionOf(lease)]));
  for (;;) {
    // Also one that came since then is somebody's.
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

/** A lease that was given back and taken anew is another one. */
const versionOf = ({ metadata }: Lease): string => `${metadata?.uid ?? ""}/${metadata?.resourceVersion ?? ""}`;
