import { ComponentResource, type ComponentResourceOptions, type CustomTimeouts, type Resource } from "@pulumi/pulumi";
import type { local } from "@pulumi/command";
import type { VmLegacy } from "@muhlba91/pulumi-proxmoxve/vmLegacy.js";
import { variables, type Timeouts } from "../src/domain/model/step-environment.ts";
import type { SlotPlan } from "../src/domain/model/types.ts";
import { seconds, step, type StepEnvironment } from "./step.ts";
import { nodeVm, type NodeVmArgs } from "./vm.ts";

export interface SlotArgs {
  plan: SlotPlan;
  vm: Omit<NodeVmArgs, "plan">;
  /** What every step of this slot is told. */
  environment: StepEnvironment;
  timeouts: Timeouts;
  /** Nodes of the slot that are nothing to it any more, and that nobody can destroy now: the engine keeps what it has of them. */
  stranded: Pick<SlotArgs, "plan" | "vm" | "environment">[];
  /** Whether `pulumi destroy` may take the cluster away, as of this update. A change runs claim and join once more, as no-ops. */
  allowDestroy: boolean;
  after: {
    /** The VM is not cloned before these. It is claimed right after. */
    vm: Resource[];
    /** The node does not join before these. */
    join: Resource[];
  };
}

/**
 * One place in a pool. The VM, its claim and its join carry the node's name, so another generation is another resource and
 * both exist while the slot is handed over. The handover carries the slot's name: an update of it is the replacement.
 */
export class Slot extends ComponentResource {
  readonly vm: VmLegacy;
  readonly join: local.Command;
  private readonly claim: local.Command;
  private readonly args: SlotArgs;
  private readonly slotName: string;

  constructor(name: string, args: SlotArgs, options?: ComponentResourceOptions) {
    super("evergreen:index:Slot", name, {}, options);
    this.slotName = name;
    this.args = args;
    this.vm = nodeVm(args.plan.name, { ...args.vm, plan: args.plan }, { parent: this, dependsOn: args.after.vm });
    this.claim = this.declareClaim(args, this.vm);
    this.join = this.declareJoin(args, this.claim, args.after.join);
    for (const one of args.stranded) {
      const vm = nodeVm(one.plan.name, { ...one.vm, plan: one.plan }, { parent: this });
      this.declareJoin(one, this.declareClaim(one, vm), []);
    }
    this.registerOutputs({});
  }

  /** What a step is told whose delete may be part of a destroy that meets no guard (components/guard.ts). */
  private deletable(told: StepEnvironment): StepEnvironment {
    return this.args.allowDestroy ? { ...told, [variables.allowDestroy]: "true" } : told;
  }

  /** Records whose VM it is. Its delete comes between that of the join and that of the VM: the last look at whose it is. */
  private declareClaim(
    { plan, environment: told }: Pick<SlotArgs, "plan" | "environment">,
    vm: VmLegacy,
  ): local.Command {
    // The plan goes by names and tags, which a copy has too.
    const environment = { ...this.deletable(told), [variables.madeVmid]: vm.vmId.apply(String) };
    const verbs = { create: "claim", update: "claim", delete: "release" };
    return step(`${plan.name}-claim`, verbs, environment, {
      parent: this,
      dependsOn: [vm],
      customTimeouts: claimTimeouts(this.args.timeouts),
    });
  }

  /** Its delete retires the node if it still is a member: scale-in, a removed pool, what a failed run left. */
  private declareJoin(
    { plan, environment }: Pick<SlotArgs, "plan" | "environment">,
    claim: local.Command,
    after: Resource[],
  ): local.Command {
    const { timeouts } = this.args;
    const { agent, gate, join, lease, shutdown } = timeouts;
    // A server holds back who was told before it, takes a dead predecessor out, and waits for the others before and after it.
    const update = lease + 2 * agent + shutdown + 3 * gate + join + retirement(timeouts);
    const verbs = { create: "join", update: "join", delete: "retire" };
    return step(`${plan.name}-join`, verbs, this.deletable(environment), {
      parent: this,
      dependsOn: [claim, ...after],
      customTimeouts: seconds({ update, delete: gate + retirement(timeouts) }),
    });
  }

  /** The step that gives the slot to its node, retires every other node of it, and waits for what was evicted. */
  handover(after: Resource[]): local.Command {
    const { plan, timeouts } = this.args;
    const leavers = Math.max(1, plan.replaces.length);
    const verbs = { create: "handover", update: "handover" };
    return step(`${this.slotName}-handover`, verbs, this.args.environment, {
      parent: this,
      dependsOn: [this.join, ...after],
      customTimeouts: seconds({ update: leavers * (timeouts.gate + retirement(timeouts)) + timeouts.gate }),
    });
  }
}

export function claimTimeouts(timeouts: Timeouts): CustomTimeouts {
  return seconds({ update: timeouts.agent + timeouts.lease, delete: timeouts.gate + retirement(timeouts) });
}

/** Longest time that it takes to take a node out, in seconds. */
export function retirement({ lease, gate, storage, drain, volumes, shutdown }: Timeouts): number {
  // Only where Longhorn is: another node to be open for replicas, the replicas to be there, and the node to be forgotten.
  const longhorn = gate + storage + gate;
  // A lock of Proxmox on the VM, before the node is disturbed and before it is turned off.
  const locks = gate + drain;
  return lease + locks + longhorn + drain + volumes + shutdown;
}
