import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { dirname } from "node:path";
import { findAccess } from "../../src/clients/kubernetes/access.ts";
import type { Kubernetes } from "../../src/clients/kubernetes/client.ts";
import { Deadline } from "../../src/runtime/deadline.ts";
import { startLab, stopLab, type Lab } from "../../lab/lab.ts";
import type { LabOptions } from "../../lab/site.ts";
import { credentialsFrom, Proxmox } from "../../src/clients/proxmox/client.ts";
import { tagsOf } from "../../src/clients/proxmox/tags.ts";
import { isRunning, listVms } from "../../src/clients/proxmox/vms.ts";
import { environmentOf, type Site } from "../../src/domain/model/step-environment.ts";
import type { Generation, PlanVerdict, PoolPlan, Role, SlotPlan, Strategy } from "../../src/domain/model/types.ts";
import { readPoolInput, readSlotInput, type PoolInput, type SlotInput } from "../../src/steps/input.ts";
import { join } from "../../src/steps/verbs/join.ts";
import type { StepContext } from "../../src/steps/context.ts";
import { Operator } from "../lab/support/operator.ts";
import { labOptions } from "../lab/support/start.ts";

const rke2 = "v1.34.4+rke2r1";
const size = { cores: 1, memoryMiB: 1024, diskGiB: 10 };
export const blue: Generation = { id: "aaaaaaaa", spec: { image: "ubuntu-24.04-rke2-v1.0.0", rke2, ...size } };
export const green: Generation = { id: "bbbbbbbb", spec: { image: "ubuntu-24.04-rke2-v1.1.0", rke2, ...size } };
/** The content of `green` once more. */
export const third: Generation = { ...green, id: "cccccccc" };
const templates: Record<string, string> = { [blue.spec.image]: "9001", [green.spec.image]: "9002" };

export const strategy: Strategy = { kind: "blueGreen", surge: 3, maxUnavailable: 1, soakSeconds: 0, onFailure: "hold" };

/** In seconds: enough for a machine that does much else. A test that wants one to be over says so. */
const patience = {
  agent: 60,
  join: 90,
  storage: 60,
  drain: 60,
  volumes: 60,
  shutdown: 60,
  lease: 90,
  gate: 60,
  snapshot: 90,
};

/** A lab and somebody who runs steps in it as the engine would, minus the engine. */
export class StepCluster {
  readonly lab: Lab;
  readonly operator: Operator;
  readonly pve: Proxmox;
  readonly site: Site;
  private readonly directory: string;
  private runs = 0;

  private constructor(lab: Lab, prefix: string) {
    this.lab = lab;
    this.directory = lab.directory;
    this.operator = new Operator(lab);
    const ca = readFileSync(lab.env.NODE_EXTRA_CA_CERTS, "utf8");
    this.pve = new Proxmox({ ...credentialsFrom({ ...lab.env }), ca });
    this.site = {
      registrationAddress: `${prefix}.0.5`,
      proxmoxPool: "evergreen-nodes",
      serverPool: "servers",
      timeouts: { ...patience },
    };
  }

  static async start(prefix: string, more: Partial<LabOptions> = {}): Promise<StepCluster> {
    return new StepCluster(await startLab(await labOptions(prefix, more)), prefix);
  }

  /** Makes the first server. @returns the way into its cluster */
  async found(): Promise<Kubernetes> {
    const server = this.slot("servers", 0);
    await this.clone(server);
    await join(this.run(), server);
    return await this.kubernetes();
  }

  /** The way into the cluster, which exists. */
  async kubernetes(): Promise<Kubernetes> {
    const access = await findAccess(this.pve, await listVms(this.pve), { ...this.site, cluster: "demo" });
    assert.ok(access);
    return access.client;
  }

  async stop(): Promise<void> {
    await this.pve.close();
    await this.operator.close();
    await stopLab(this.directory);
    await rm(dirname(this.directory), { recursive: true });
  }

  /** Another process, as leases see it. */
  run(previous: object = {}, stop: AbortSignal = new AbortController().signal): StepContext {
    this.runs += 1;
    return { pve: this.pve, id: `test-${this.runs}`, stop, mayTearDown: false, previous: JSON.stringify(previous) };
  }

  /** What a step of a slot is told. */
  slot(pool: "servers" | "workers", slot: number, generation: Generation = blue): SlotInput {
    return readSlotInput(this.environment(pool, slot, generation));
  }

  environment(pool: "servers" | "workers", slot: number, generation: Generation = blue): Record<string, string> {
    const role: Role = pool === "servers" ? "server" : "agent";
    const plan = slotPlan(pool, slot, generation);
    return environmentOf({ cluster: "demo", site: this.site, pool, role, strategy, slot: plan, rollout: "r1" });
  }

  /** What a step of a pool is told. */
  pool(pool: "servers" | "workers", slots: number, target: Generation, verdict?: PlanVerdict): PoolInput {
    const plan = this.plan(pool, slots, target, verdict);
    return readPoolInput(environmentOf({ cluster: "demo", site: this.site, plan, rollout: "r1" }));
  }

  /** A pool that is to be of one generation. */
  plan(pool: "servers" | "workers", slots: number, target: Generation, verdict?: PlanVerdict): PoolPlan {
    return {
      pool,
      role: pool === "servers" ? "server" : "agent",
      kind: "roll",
      target,
      slots: Array.from({ length: slots }, (_, slot) => slotPlan(pool, slot, target)),
      leaving: [],
      unreplaced: [],
      kept: [],
      unhealthy: [],
      strategy,
      verdict,
      words: [],
      digest: "d",
    };
  }

  /** What the provider does: a clone with our tags, switched off. */
  async clone({ node, vmid, pool, slot, generation, spec }: SlotInput): Promise<void> {
    const template = templates[spec.image] ?? "";
    const clone = { newid: String(vmid), name: node, pool: "evergreen-nodes", full: "0" };
    await this.operator.pve("POST", `nodes/pve1/qemu/${template}/clone`, clone);
    const tags = tagsOf({ cluster: "demo", pool, slot, generation }).join(";");
    await this.operator.pve("PUT", `nodes/pve1/qemu/${vmid}/config`, { tags, onboot: "0" });
  }

  async status(vmid: number): Promise<"running" | "stopped"> {
    return (await isRunning(this.pve, { host: "pve1", vmid })) ? "running" : "stopped";
  }

  /** Turns a VM off by hand. */
  async turnOff(vmid: number): Promise<void> {
    await this.operator.pve("POST", `nodes/pve1/qemu/${vmid}/status/stop`);
    await new Deadline(`VM ${vmid} to be off`, 30).poll(100, async () =>
      (await this.status(vmid)) === "stopped" ? true : undefined,
    );
  }

  async requests(): Promise<number> {
    return (await this.lab.status).requests.total;
  }
}

function slotPlan(pool: "servers" | "workers", slot: number, generation: Generation): SlotPlan {
  const base =
    (pool === "servers" ? 1000 : 1100) + 20 * [blue, green, third].findIndex(({ id }) => id === generation.id);
  return {
    slot,
    generation,
    name: `demo-${pool}-${slot}-${generation.id}`,
    vmid: base + slot,
    creates: true,
    replaces: [],
  };
}
