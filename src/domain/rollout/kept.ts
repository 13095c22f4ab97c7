import type { Member, SlotState } from "./slot-state.ts";
import type { KeptVm, LocalVolumePolicy, NodeRecord, PoolRecord } from "../model/types.ts";

/*
 * A node that leaves with the only copy of some data on its disk is decommissioned like any other, but its VM is kept,
 * powered off, for a time: the run that strands data never destroys it. The node's record says so (`keeps`), from
 * before the node is disturbed until a later run of the program has found it retired and its retention time over. While
 * the record says so, no release step lets the VM be destroyed.
 */

const DAY = 24 * 3600;

/** The policy when none is configured. */
export const refusal: LocalVolumePolicy = { mayLeave: false, keepSeconds: 7 * DAY };

/**
 * When the retention of a decommissioned node's data ends. Undefined: the node is not retired, or since when is not
 * known.
 */
export function keptUntil(
  { phase, since }: Pick<NodeRecord, "phase" | "since">,
  { keepSeconds }: LocalVolumePolicy,
): Date | undefined {
  const end = new Date(Date.parse(since) + keepSeconds * 1000);
  return phase !== "retired" || Number.isNaN(end.getTime()) ? undefined : end;
}

/** Whether a node is retired with data and the retention is over: the next run destroys its VM. */
export function isOverdue(record: NodeRecord, policy: LocalVolumePolicy, now: Date): boolean {
  const end = keptUntil(record, policy);
  return record.keeps !== undefined && end !== undefined && end <= now;
}

/**
 * The VMs that are kept for their data and whose nodes were decommissioned before this run: they do not leave again,
 * and are not destroyed yet.
 */
export function keptBefore(
  states: Iterable<SlotState>,
  record: PoolRecord | undefined,
  policy: LocalVolumePolicy,
  now: Date,
  isChosen: (member: Member) => boolean,
): KeptVm[] {
  return [...states].flatMap(({ members }) =>
    members.flatMap((member) => {
      const { record: own, vm, node, name, slot, generation } = member;
      if (vm === undefined || node !== undefined || own?.phase !== "retired" || isChosen(member)) return [];
      // No VM is destroyed on a host that does not answer.
      if (own.keeps === undefined || (isOverdue(own, policy, now) && vm.unreachable === undefined)) return [];
      const until = keptUntil(own, policy)?.toISOString();
      const { vmid, host } = vm;
      const spec = record?.generations.find(({ id }) => id === generation)?.spec;
      return [
        { slot, name, vmid, host, generation, spec, volumes: own.keeps, ...(until === undefined ? {} : { until }) },
      ];
    }),
  );
}
