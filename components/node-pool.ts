import { ComponentResource, type ComponentResourceOptions, type Resource } from "@pulumi/pulumi";
import type { local } from "@pulumi/command";
import type { VmLegacy } from "@muhlba91/pulumi-proxmoxve/vmLegacy.js";
import { variables } from "../src/domain/model/step-environment.ts";
import { BEFORE_POOL, poolGraph, verifyOf, type GraphArgs, type StepResource } from "../src/domain/rollout/graph.ts";
import { step } from "./step.ts";
import { keptVm, nodeVm, type VmSite } from "./vm.ts";

export interface NodePoolArgs extends GraphArgs {
  /** What VMs are connected to. */
  vms: VmSite;
  /** Nothing of the pool starts before these. */
  after: Resource[];
}

/**
 * A pool of nodes. What happens to it in this run was decided by the plan, and what is declared for that, in which order, by
 * its graph (src/domain/rollout/graph.ts); here it becomes resources.
 *
 * VM, claim and join carry the node's name, so another generation is another resource and both exist while a slot is handed
 * over. The handover carries the slot's name: an update of it is the replacement.
 */
export class NodePool extends ComponentResource {
  /** Ends when every slot of the plan serves and the soak that is waited for in this run is over. None: only kept VMs are left. */
  readonly verified: local.Command[];
  /** What keeps the VMs of nodes that have left with data on them. */
  readonly kept: local.Command[];
  private readonly vms = new Map<string, VmLegacy>();
  private readonly steps = new Map<string, local.Command>();
  private readonly places = new Map<number, Resource>();
  private readonly poolName: string;
  private readonly args: NodePoolArgs;

  constructor(name: string, args: NodePoolArgs, options?: ComponentResourceOptions) {
    super("evergreen:index:NodePool", name, {}, options);
    this.poolName = name;
    this.args = args;
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
    this.registerOutputs({});
  }

  /** The component of a slot: what is declared for its nodes hangs together under it. */
  private parentOf(slot: number | undefined): Resource {
    if (slot === undefined) return this;
    const name = `${this.poolName}-${slot}`;
    const place = this.places.get(slot) ?? new ComponentResource("evergreen:index:Slot", name, {}, { parent: this });
    this.places.set(slot, place);
    return place;
  }

  private declared(name: string): Resource[] {
    if (name === BEFORE_POOL) return this.args.after;
    const found = this.vms.get(name) ?? this.steps.get(name);
    if (found === undefined) throw new Error(`${name} is waited for and was not declared before`);
    return [found];
  }

  private stepsNamed(name: string | undefined): local.Command[] {
    const found = name === undefined ? undefined : this.steps.get(name);
    return found === undefined ? [] : [found];
  }

  /** What is known only once other resources are made comes as their outputs. */
  private environmentOf({ environment, rollout, madeVm }: StepResource) {
    const [told] = this.stepsNamed(rollout);
    const made = madeVm === undefined ? undefined : this.vms.get(madeVm);
    return {
      ...environment,
      ...(told ? { [variables.rollout]: told.stdout } : {}),
      ...(made ? { [variables.madeVmid]: made.vmId.apply(String) } : {}),
    };
  }
}
