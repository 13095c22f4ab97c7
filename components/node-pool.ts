import { ComponentResource, type ComponentResourceOptions, type Resource } from "@pulumi/pulumi";
import type { local } from "@pulumi/command";
import type { VmLegacy } from "@muhlba91/pulumi-proxmoxve/vmLegacy.js";
import { typeTokens } from "../src/domain/model/formats.ts";
import { variables } from "../src/domain/model/step-environment.ts";
import { BEFORE_POOL, poolGraph, verifyOf, type GraphArgs, type StepResource } from "../src/domain/rollout/graph.ts";
import { step } from "./step.ts";
import { keptVm, nodeVm, type VmSite } from "./vm.ts";

export interface NodePoolArgs extends GraphArgs {
  /** Where VMs are placed and what they are connected to. */
  vms: VmSite;
  /** Resources that must be done before anything of the pool starts. */
  after: Resource[];
}

/**
 * A pool of nodes as Pulumi resources. The plan has decided what happens to the pool in this run, and its graph
 * (src/domain/rollout/graph.ts) which resources are declared for that, in which order.
 *
 * VM, claim and join have the node's name, so another generation is another resource, and both exist during the
 * handover of a slot. The handover has the slot's name: its update is the replacement.
 */
export class NodePool extends ComponentResource {
  /** Its end means that every slot of the plan serves and this run's soak is over. Empty: only kept VMs are left. */
  readonly verified: local.Command[];
  /** The steps that keep the VMs of decommissioned nodes with data on them. */
  readonly kept: local.Command[];
  private readonly vms = new Map<string, VmLegacy>();
  private readonly steps = new Map<string, local.Command>();
  private readonly places = new Map<number, Resource>();
  private readonly poolName: string;
  private readonly args: NodePoolArgs;

  constructor(name: string, args: NodePoolArgs, options?: ComponentResourceOptions) {
    super(typeTokens.nodePool, name, {}, options);
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

  /** The component of a slot, which is the parent of its nodes' resources. */
  private parentOf(slot: number | undefined): Resource {
    if (slot === undefined) return this;
    const name = `${this.poolName}-${slot}`;
    const place = this.places.get(slot) ?? new ComponentResource(typeTokens.slot, name, {}, { parent: this });
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

  /** The environment of a step; values that other resources produce are outputs of these. */
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
