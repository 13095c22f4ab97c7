import { ComponentResource, type ComponentResourceOptions } from "@pulumi/pulumi";
import { typeTokens } from "../src/domain/model/formats.ts";
import type { NodeAddresses, PlacedSlot } from "../src/domain/model/types.ts";

/** Arguments of a slot: plain data. */
export interface SlotArgs {
  /** Number of the slot in its pool, from 0. A change of it is another slot. */
  slot: number;
  /**
   * The node that the plan has for the slot. Another name is another node: its resources come beside those of the node
   * that the slot has, and the handover replaces that one.
   * @default none: the slot is given up, and only VMs that are kept for their data are left in it
   */
  node?: Pick<PlacedSlot, "name" | "vmid" | keyof NodeAddresses>;
}

/**
 * A place in a pool that one node holds at a time: the parent of the resources of its nodes, that is VM, claim and join
 * of each, and of the handover from one to the next. What `dependsOn` it comes after its node serves.
 *
 * A pool makes its slots. Their resources wait for those of other slots too, so the pool declares them.
 *
 * @example
 *     const [first] = workers.slots;
 *     new local.Command("smoke-test", { create: `./smoke-test ${first.node.name}` }, { dependsOn: [first] });
 */
export class Slot extends ComponentResource {
  /** Number of the slot in its pool, from 0. */
  readonly slot: number;
  /** The node that has the slot once the run is over. Undefined: none, the slot is given up. */
  readonly node: SlotArgs["node"];

  constructor(name: string, { slot, node }: SlotArgs, options?: ComponentResourceOptions) {
    // Nothing of it is an input of the resource: every stack that exists would show the change of all its slots.
    super(typeTokens.slot, name, {}, options);
    this.slot = slot;
    this.node = node;
  }
}
