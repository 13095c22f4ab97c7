import { ComponentResource, type ComponentResourceOptions, type Output, type Resource } from "@pulumi/pulumi";
import type { local } from "@pulumi/command";
import type { BackupPolicy } from "../src/domain/backup/snapshot.ts";
import { order, type SlotOrder } from "../src/domain/rollout/order.ts";
import { environmentOf, variables, type Site } from "../src/domain/model/step-environment.ts";
import type { PoolPlan, SlotPlan } from "../src/domain/model/types.ts";
import { keepVms } from "./kept.ts";
import { strandedIn } from "../src/domain/rollout/unreachable.ts";
import { retirement, Slot } from "./slot.ts";
import { snapshotGate } from "./snapshot-gate.ts";
import { seconds, step, type StepEnvironment } from "./step.ts";
import type { Template, VmSite } from "./vm.ts";

export interface NodePoolArgs {
  cluster: string;
  plan: PoolPlan;
  /** What steps are told of the place that they work in. */
  site: Site;
  /** Whether `pulumi destroy` may take the cluster away, as of this update. */
  allowDestroy: boolean;
  /** What VMs are connected to. */
  vms: VmSite;
  /** The template that a node's VM on a Proxmox host is cloned from; of one that exists it may be gone. */
  templateOf: (slot: SlotPlan, host: string) => Template | undefined;
  /** Proxmox host of a node's VM: where it is, or where it shall be cloned. */
  hostOf: (slot: SlotPlan) => string;
  /** Tags of a node's VM. */
  tagsOf: (slot: SlotPlan) => string[];
  /** Nothing of the pool starts before these. */
  after: Resource[];
  /** Servers: what the etcd snapshot must be that is made before one of them leaves. */
  backup?: BackupPolicy;
}

/**
 * A pool of nodes. What happens to it in this run was decided by the plan; here it becomes resources and edges:
 *
 *     Rollout -> [Snapshot] -> VM(slot) -> Claim(slot) -> Join(slot) -> [Gate] -> Handover(slot) -> Verify
 */
export class NodePool extends ComponentResource {
  /** Ends when every slot of the plan serves and the soak that is waited for in this run is over. */
  readonly verified: local.Command;
  /** What keeps the VMs of nodes that have left with data on them. */
  readonly kept: local.Command[];
  private readonly poolName: string;
  private readonly args: NodePoolArgs;

  constructor(name: string, args: NodePoolArgs, options?: ComponentResourceOptions) {
    super("evergreen:index:NodePool", name, {}, options);
    this.poolName = name;
    this.args = args;
    const rollout = this.rollout();
    const begun = [rollout, ...this.snapshot(rollout)];
    const slots = new Map<number, Slot>();
    this.verified = this.verify(rollout, this.slots(slots, rollout, begun));
    this.kept = keepVms(this, name, slots, args);
    this.registerOutputs({});
  }

  /** Turns a change of plan into a fresh token: the engine alone would skip what a failed run left (docs/design.md, 4). */
  private rollout(): local.Command {
    return step(`${this.poolName}-rollout`, { create: "rollout", update: "rollout" }, this.poolEnvironment(), {
      parent: this,
      dependsOn: this.args.after,
    });
  }

  /** Declared for every pool of servers, so that it is never new; it acts where one leaves. */
  private snapshot(rollout: local.Command): local.Command[] {
    const { cluster, site, plan, backup } = this.args;
    if (backup === undefined) return [];
    const args = { cluster, site, plan, backup, rollout: rollout.stdout };
    return [snapshotGate(`${this.poolName}-snapshot`, args, { parent: this, dependsOn: [rollout] })];
  }

  /** Declares slots in an order in which everything that a slot waits for has been declared. @returns their steps */
  private slots(slots: Map<number, Slot>, rollout: local.Command, begun: Resource[]): local.Command[] {
    const orders = order(this.args.plan);
    const handovers = new Map<number, local.Command>();
    for (const slotOrder of orders) {
      const cloned = pick(slots, slotOrder.clone).map((before) => before.vm);
      const slot = this.slot(slotOrder, rollout, [...begun, ...cloned], handovers);
      slots.set(slotOrder.slot, slot);
      if (!slotOrder.gate) handovers.set(slotOrder.slot, slot.handover(pick(handovers, slotOrder.handover)));
    }
    const gate = this.gate(rollout, [...slots.values()]);
    for (const slotOrder of orders.filter((one) => one.gate)) {
      const after = [...gate, ...pick(handovers, slotOrder.handover)];
      const slot = slots.get(slotOrder.slot);
      if (slot) handovers.set(slotOrder.slot, slot.handover(after));
    }
    return [...[...slots.values()].map((slot) => slot.join), ...handovers.values()];
  }

  private slot(
    slotOrder: SlotOrder,
    rollout: local.Command,
    begun: Resource[],
    handovers: ReadonlyMap<number, local.Command>,
  ): Slot {
    const { cluster, plan, site, allowDestroy, vms, templateOf, hostOf, tagsOf, after } = this.args;
    const { pool, role, strategy } = plan;
    const node = (slot: SlotPlan) => {
      const host = hostOf(slot);
      const template = templateOf(slot, host);
      return {
        plan: slot,
        vm: { template, host, tags: tagsOf(slot), site: vms },
        environment: told(environmentOf({ cluster, site, pool, role, strategy, slot }), rollout.stdout),
      };
    };
    const slot = planned(plan, slotOrder.slot);
    return new Slot(
      `${this.poolName}-${slot.slot}`,
      {
        ...node(slot),
        stranded: strandedIn(slot).map(node),
        timeouts: site.timeouts,
        allowDestroy,
        after: {
          vm: [...after, ...begun, ...pick(handovers, slotOrder.vm)],
          join: pick(handovers, slotOrder.join),
        },
      },
      { parent: this },
    );
  }

  /**
   * Blue-green: nobody leaves before everybody has come, also who replaces nobody: the gate looks at every slot, and must
   * not wait for a join that is still under way. Declared also when nothing moves, so that it is never new.
   */
  private gate(rollout: local.Command, slots: Slot[]): local.Command[] {
    if (this.args.plan.role !== "agent" || this.args.plan.strategy.kind !== "blueGreen") return [];
    const verbs = { create: "gate", update: "gate" };
    return [
      step(`${this.poolName}-gate`, verbs, told(this.poolEnvironment(), rollout.stdout), {
        parent: this,
        dependsOn: [rollout, ...slots.map((slot) => slot.join)],
        customTimeouts: seconds({ update: this.args.site.timeouts.gate }),
      }),
    ];
  }

  private verify(rollout: local.Command, after: Resource[]): local.Command {
    const { plan, site } = this.args;
    const verbs = { create: "verify", update: "verify" };
    return step(`${this.poolName}-verify`, verbs, told(this.poolEnvironment(), rollout.stdout), {
      parent: this,
      dependsOn: after,
      // Slots that go may hold half-made nodes, which leave one after the other.
      customTimeouts: seconds({
        update:
          site.timeouts.gate +
          plan.strategy.soakSeconds +
          plan.leaving.length * (site.timeouts.gate + retirement(site.timeouts)),
      }),
    });
  }

  private poolEnvironment(): StepEnvironment {
    const { cluster, site, plan } = this.args;
    return environmentOf({ cluster, site, plan });
  }
}

function told(environment: StepEnvironment, rollout: Output<string>): StepEnvironment {
  return { ...environment, [variables.rollout]: rollout };
}

function pick<T>(declared: ReadonlyMap<number, T>, slots: readonly number[]): T[] {
  return slots.flatMap((slot) => declared.get(slot) ?? []);
}

function planned(plan: PoolPlan, slot: number): SlotPlan {
  const found = plan.slots.find((candidate) => candidate.slot === slot);
  if (!found) throw new Error(`the order names slot ${slot} of ${plan.pool}, which the plan does not have`);
  return found;
}
