/** Counts which kinds of faults struck which targets: a fault that a lab never makes is covered by no test. */
import { appendFileSync } from "node:fs";
import type { FaultOrder } from "./control.ts";

export type FaultKind = FaultOrder["kind"];

/** Every kind of fault that a lab can be told to make, and its target: the rows of the matrix. */
export const faultKinds: Readonly<Record<FaultKind, string>> = {
  "full-storage": "a storage",
  image: "guests of a template",
  bake: "guests of bakes",
  snapshot: "snapshots of etcd",
  registry: "the private registry",
  "registration-down": "the registration address",
  "revoke-privilege": "a token",
  "revoke-token": "a token",
  stranger: "a VMID",
  template: "the templates",
  "delete-vm": "a VM",
  "stop-vm": "a VM",
  "start-vm": "a VM",
  "rename-vm": "a VM",
  "tag-vm": "a VM",
  "vm-state": "a VM",
  "lock-vm": "a VM",
  "migrate-vm": "a VM",
  "ha-vm": "a VM",
  "pool-vm": "a VM",
  console: "a guest",
  "host-off": "a host",
  "host-on": "a host",
  "no-quorum": "the Proxmox cluster",
  latency: "requests to Proxmox",
  answer: "requests to Proxmox",
  drop: "requests to Proxmox",
  hold: "requests to both APIs",
  "fail-task": "tasks of Proxmox",
};

/** A cell of the matrix. */
export interface Strike {
  kind: FaultKind;
  /** The target: a method and an endpoint, a type of task, or what the order names. */
  on: string;
  times: number;
}

/** Counts the strikes of a lab. */
export class Strikes {
  private readonly counts = new Map<string, Strike>();

  count(kind: FaultKind, on: string): void {
    const key = `${kind} ${on}`;
    const times = (this.counts.get(key)?.times ?? 0) + 1;
    this.counts.set(key, { kind, on, times });
  }

  /** Appends the counts to a file that the labs of a whole test run share, a line each. */
  append(file: string): void {
    const lines = [...this.counts.values()].map((strike) => `${JSON.stringify(strike)}\n`);
    if (lines.length > 0) appendFileSync(file, lines.join(""));
  }
}

/** The target of an order, known when the order is given; undefined for rules, which count when they strike. */
export function struckBy(order: FaultOrder): string | undefined {
  switch (order.kind) {
    case "latency":
    case "answer":
    case "drop":
    case "fail-task":
    case "hold":
      return undefined;
    case "bake":
    case "image":
    case "snapshot":
      return order.fault;
    case "revoke-privilege":
      return order.privilege;
    case "vm-state":
      return order.state;
    case "lock-vm":
      return order.lock ?? "unlocked";
    default:
      return faultKinds[order.kind];
  }
}
