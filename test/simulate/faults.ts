import { Chance } from "./chance.ts";
import type { Answer, Call } from "./wire.ts";

/** What goes wrong with one request. */
export interface Fault {
  /** Arrives this much later, in milliseconds. */
  ms?: number;
  /** Answered in the place of the server, without effect. */
  refusal?: Answer;
  /** No answer comes; with `after` the effect has happened all the same. */
  lost?: { after: boolean; how: "hang up" | "silence" };
  /** A stream breaks after this time, in milliseconds. */
  breaksAfter?: number;
}

/** How much goes wrong: shares of requests. */
export interface Weather {
  /** Of the requests to Proxmox. */
  pve: number;
  /** Of the requests to Kubernetes. */
  kube: number;
  /** Of the watches: they break, or their version is too old. */
  watch: number;
  /** Requests that take seconds. */
  slow: number;
  /** Tasks of Proxmox that end with warnings, or badly. */
  task: number;
  /** Learners of etcd that learn nothing for a while. */
  learner: number;
}

export const calm: Weather = { pve: 0, kube: 0, watch: 0, slow: 0, task: 0, learner: 0 };

/** Draws faults from their own stream of chance. */
export class Faults {
  weather: Weather = calm;
  private readonly chance: Chance;

  constructor(seed: number) {
    this.chance = new Chance(seed, "faults");
  }

  /** A slow answer stays far below half the life of a lease: what is checked right before a request still holds then. */
  of(call: Call): Fault | undefined {
    const { chance, weather } = this;
    const slow: Fault = chance.happens(weather.slow) ? { ms: chance.between(200, 4000) } : {};
    const fault = this.kind(call);
    return fault || slow.ms !== undefined ? { ...slow, ...fault } : undefined;
  }

  /** How a task of Proxmox ends that would have ended well. */
  taskEnd(): "OK" | "WARNINGS: 1" | "can't lock file '/var/lock/qemu-server/lock-1.conf' - got timeout" {
    if (!this.chance.happens(this.weather.task)) return "OK";
    return this.chance.pick([
      "WARNINGS: 1",
      "can't lock file '/var/lock/qemu-server/lock-1.conf' - got timeout",
    ] as const);
  }

  /** How long a learner of etcd learns nothing, in milliseconds: less than RKE2 waits until it gives the server up for good. */
  stall(): number {
    return this.chance.happens(this.weather.learner) ? this.chance.between(20_000, 250_000) : 0;
  }

  /** Who fell less than this ago may not have been noticed, in milliseconds: a lost answer is waited for half a minute. */
  reaction(): number {
    const { pve, kube, slow } = this.weather;
    return pve + kube + slow === 0 ? 2000 : 40_000;
  }

  private kind(call: Call): Fault | undefined {
    const { chance, weather } = this;
    if (call.query.get("watch") === "true") {
      if (!chance.happens(weather.watch)) return undefined;
      return chance.pick<() => Fault>([
        () => ({ refusal: status(410, "Expired", "too old resource version") }),
        () => ({ breaksAfter: chance.between(100, 20_000) }),
        () => ({ refusal: status(500, "InternalError", "etcdserver: leader changed") }),
      ])();
    }
    return chance.happens(call.api === "pve" ? weather.pve : weather.kube)
      ? call.api === "pve"
        ? this.ofProxmox()
        : this.ofKubernetes(call)
      : undefined;
  }

  private ofProxmox(): Fault {
    const { chance } = this;
    const refused = (status: number, reason: string) => () => ({ refusal: { status, reason, body: "" } });
    return chance.pick<() => Fault>([
      refused(500, "got no worker upid - start worker failed"),
      refused(595, "Connection refused"),
      refused(596, "Broken pipe"),
      refused(599, "Too many redirections"),
      refused(401, "invalid PVE ticket"),
      refused(500, "can't lock file '/var/lock/qemu-server/lock-1.conf' - got timeout"),
      () => this.lost(),
      () => this.lost(),
    ])();
  }

  private ofKubernetes({ method }: Call): Fault {
    const { chance } = this;
    const conflict = () =>
      method === "GET" || method === "POST"
        ? status(503, "ServiceUnavailable", "the server is currently unable to handle the request")
        : status(409, "Conflict", "the object has been modified; please apply your changes to the latest version");
    return chance.pick<() => Fault>([
      () => ({ refusal: status(500, "InternalError", "etcdserver: request timed out") }),
      () => ({ refusal: status(503, "ServiceUnavailable", "the server is currently unable to handle the request") }),
      () => ({ refusal: status(429, "TooManyRequests", "too many requests, please try again later") }),
      () => ({ refusal: status(401, "Unauthorized", "Unauthorized") }),
      () => ({ refusal: conflict() }),
      () => this.lost(),
      () => this.lost(),
    ])();
  }

  private lost(): Fault {
    const { chance } = this;
    return { lost: { after: chance.happens(0.5), how: chance.happens(0.8) ? "hang up" : "silence" } };
  }
}

/** A refusal as the API server words it. */
export function status(code: number, reason: string, message: string, cause?: string): Answer {
  const details = cause === undefined ? {} : { details: { causes: [{ reason: cause }] } };
  return {
    status: code,
    body: JSON.stringify({ kind: "Status", status: "Failure", code, reason, message, ...details }),
  };
}
