import {
  ComponentResource,
  output,
  secret,
  type ComponentResourceOptions,
  type Input,
  type Output,
  type Resource,
} from "@pulumi/pulumi";
import type { local } from "@pulumi/command";
import type { VmLegacy } from "@muhlba91/pulumi-proxmoxve/vmLegacy.js";
import { addressesIn } from "../src/domain/model/address.ts";
import { typeTokens } from "../src/domain/model/formats.ts";
import { secretVariables, variables } from "../src/domain/model/step-environment.ts";
import type { Role } from "../src/domain/model/types.ts";
import { BEFORE_POOL, poolGraph, verifyOf, type StepResource } from "../src/domain/rollout/graph.ts";
import type { PlannedPool } from "../src/domain/rollout/planned.ts";
import { checkPoolArguments } from "./arguments.ts";
import { Slot } from "./slot.ts";
import { step, type StepEnvironment } from "./step.ts";
import { keptVm, nodeVm } from "./vm.ts";

/** A node of a pool, once it serves. */
export interface PoolNode {
  /** Number of its slot, from 0. */
  slot: number;
  /** Name of the Node, the VM and the host. */
  name: string;
  vmid: number;
  /** IPv4 address. Absent: DHCP provides it. */
  address?: string;
  /** IPv6 address. Absent: the network provides it, or there is none. */
  address6?: string;
}

/**
 * A pool of nodes as Pulumi resources, of servers or of agents. The plan has decided what happens to the pool in this
 * run, and its graph (src/domain/rollout/graph.ts) which resources are declared for that, in which order.
 *
 * VM, claim and join have the node's name, so another generation is another resource, and both exist during the
 * handover of a slot. The handover has the slot's name: its update is the replacement.
 */
export abstract class Pool extends ComponentResource {
  /** Its end means that every slot of the plan serves and this run's soak is over. Empty: only kept VMs are left. */
  readonly verified: local.Command[];
  /** The steps that keep the VMs of decommissioned nodes with data on them. */
  readonly kept: local.Command[];
  /** The nodes of the plan. In a preview unknown when the pool changes, in an update known once all of them serve. */
  readonly nodes: Output<PoolNode[]>;
  private readonly vms = new Map<string, VmLegacy>();
  private readonly steps = new Map<string, local.Command>();
  private readonly places = new Map<number, Slot>();
  /** Name of the component: `<cluster>-<pool>`. */
  readonly name: string;
  private readonly args: PlannedPool;
  private readonly before: Input<Resource>[];

  /** @param options what the pool depends on, all its resources wait for */
  constructor(role: Role, name: string, args: PlannedPool, { dependsOn, ...options }: ComponentResourceOptions = {}) {
    checkPoolArguments(name, role, args);
    super(typeTokens.nodePool, name, {}, options);
    this.name = name;
    this.args = args;
    // The engine itself lets only the component wait, not what is in it. A list in an output is resolved like its items.
    this.before = [dependsOn ?? []].flat() as Input<Resource>[];
    const graph = poolGraph(args);
    for (const one of graph) {
      const common = {
        parent: this.parentOf(one.slot),
        dependsOn: one.after.flatMap((before) => this.declared(before)),
      };
      if (one.kind === "vm") this.vms.set(one.name, nodeVm(one.name, { node: one.node, site: args.vms }, common));
      else if (one.kind === "keptVm") this.vms.set(one.name, keptVm(one.kept, common));
      else this.steps.set(one.name, step(one, this.environmentOf(one), common));
    }
    this.verified = this.stepsNamed(verifyOf(args.cluster, args.plan.pool));
    this.kept = graph.flatMap((one) => (one.kind === "step" && one.verb === "retain" ? this.stepsNamed(one.name) : []));
    this.nodes = this.nodesOnceServing();
    this.registerOutputs({});
  }

  /** The slots of the plan, and those in which only kept VMs are left. */
  get slots(): Slot[] {
    return [...this.places.values()].toSorted((one, other) => one.slot - other.slot);
  }

  private nodesOnceServing(): Output<PoolNode[]> {
    const nodes = this.args.plan.slots.map(({ slot, name, vmid, ...more }): PoolNode => ({
      slot,
      name,
      vmid,
      ...addressesIn(more),
    }));
    const [last] = this.verified;
    return last === undefined ? output(nodes) : last.stdout.apply(() => nodes);
  }

  /** The component of a slot, which is the parent of its nodes' resources. */
  private parentOf(slot: number | undefined): Resource {
    if (slot === undefined) return this;
    const node = this.args.plan.slots.find((one) => one.slot === slot);
    const args = { slot, ...(node && { node }) };
    const place = this.places.get(slot) ?? new Slot(`${this.name}-${slot}`, args, { parent: this });
    this.places.set(slot, place);
    return place;
  }

  private declared(name: string): Input<Resource>[] {
    if (name === BEFORE_POOL) return this.before;
    const found = this.vms.get(name) ?? this.steps.get(name);
    if (found === undefined) throw new Error(`${name} is waited for and was not declared before`);
    return [found];
  }

  private stepsNamed(name: string | undefined): local.Command[] {
    const found = name === undefined ? undefined : this.steps.get(name);
    return found === undefined ? [] : [found];
  }

  /** The environment of a step; values that other resources produce are outputs of these. */
  private environmentOf({ environment, rollout, madeVm }: StepResource) {
    const [told] = this.stepsNamed(rollout);
    const made = madeVm === undefined ? undefined : this.vms.get(madeVm);
    const kept = Object.entries(environment).map(([name, value]) => [
      name,
      secretVariables.has(name) ? secret(value) : value,
    ]);
    return {
      ...(Object.fromEntries(kept) as StepEnvironment),
      ...(told ? { [variables.rollout]: told.stdout } : {}),
      ...(made ? { [variables.madeVmid]: made.vmId.apply(String) } : {}),
    };
  }
}
