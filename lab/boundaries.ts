/** The boundaries of requests: before a request has any effect, and after its effect and before its answer. */

/** A request of the tool under test, as a report shows it: `POST nodes/pve1/qemu/1100/status/start`. */
export interface Asked {
  method: string;
  path: string;
}

export type Moment = "before" | "after";

/** The effect of a request: a read changes nothing, so it leaves no trace whether it was answered. */
export type Effect = "change" | "read";

/** Number of requests seen. */
export interface Seen {
  changes: number;
  reads: number;
}

/** The request to hold, counted from the order on, from 1, over both APIs. */
export interface HoldOrder {
  effect: Effect;
  nth: number;
  when: Moment;
  /** Only requests of the token of bakes count. @default all */
  ofBakes?: boolean;
}

/** A request on its way. */
export interface Crossing {
  /** Resolves when the request may continue. @returns true when it must not: it was held, and its client has gone */
  at(moment: Moment): Promise<boolean>;
}

const through: Crossing = { at: () => Promise.resolve(false) };

/** POST requests that change nothing. */
const harmless = /\/agent\/ping$|\/selfsubject\w+$/;

/** Lease renewals are periodic, whatever their owner does: counting them would shift every number. */
const renewal = /^\/apis\/coordination\.k8s\.io\/.*\/leases\//;

/** @returns undefined for a request that is not counted */
export function effectOf({ method, path }: Asked): Effect | undefined {
  if (method === "GET" || method === "HEAD" || harmless.test(path)) return "read";
  return method === "PUT" && renewal.test(path) ? undefined : "change";
}

/** Counts requests, and holds one of them so that its client can be killed at a known moment. */
export class Boundaries {
  readonly seen: Seen = { changes: 0, reads: 0 };
  /** Those of them that had the token of bakes. */
  readonly seenOfBakes: Seen = { changes: 0, reads: 0 };
  private readonly told: (text: string, order: HoldOrder) => void;
  private wanted: (HoldOrder & { counted: number }) | undefined;
  private release: (() => void)[] = [];

  /** @param told called when a request is held */
  constructor(told: (text: string, order: HoldOrder) => void = () => undefined) {
    this.told = told;
  }

  /** Replaces an earlier order. */
  hold(order: HoldOrder): void {
    this.wanted = { ...order, counted: 0 };
  }

  /** Ends the order and cuts the held request: when it was held before its effect, it never has any effect. */
  clear(): void {
    this.wanted = undefined;
    for (const go of this.release.splice(0)) go();
  }

  /** @param isOfBakes whether the request has the token of bakes */
  enter(asked: Asked, isOfBakes = false): Crossing {
    const effect = effectOf(asked);
    if (effect === undefined) return through;
    for (const seen of isOfBakes ? [this.seen, this.seenOfBakes] : [this.seen])
      seen[effect === "change" ? "changes" : "reads"] += 1;
    const { wanted } = this;
    if (wanted?.effect !== effect || (wanted.ofBakes && !isOfBakes)) return through;
    wanted.counted += 1;
    if (wanted.counted !== wanted.nth) return through;
    return {
      at: async (moment) => {
        if (moment !== wanted.when || this.wanted !== wanted) return false;
        const cleared = new Promise<void>((resolve) => this.release.push(resolve));
        this.told(`held ${moment} its effect: ${asked.method} ${asked.path}`, wanted);
        await cleared;
        return true;
      },
    };
  }
}
