import type { Member, SlotState } from "./slot-state.ts";
import type { KeptVm, LocalVolumePolicy, NodeRecord, PoolRecord } from "../model/types.ts";

/*
 * A node that leaves with data on its disk alone is retired like any other, and its VM stays, off, for a time: the run that
 * strands data never destroys it. What is remembered of the node says so from before it is disturbed until a later program
 * has seen it retired and its time over; until that takes the word back, no release lets its VM go.
 */

const DAY = 24 * 3600;

/** What counts where nobody has configured anything. */
export const refusal: LocalVolumePolicy = { mayLeave: false, keepSeconds: 7 * DAY };

/** When the time of a retired node's data ends. Undefined: it is not retired, or nobody knows since when. */
export function keptUntil(
  { phase, since }: Pick<NodeRecord, "phase" | "since">,
  { keepSeconds }: LocalVolumePolicy,
): Date | undefined {
  const end = new Date(Date.parse(since) + keepSeconds * 1000);
  return phase !== "retired" || Number.isNaN(end.getTime()) ? undefined : end;
}

/** Retired, with data, and the time of that is over: the next run destroys it. */
export function isOverdue(record: NodeRecord, policy: LocalVolumePolicy, now: Date): boolean {
  const end = keptUntil(record, policy);
  return record.keeps !== undefined && end !== undefined && end <= now;
}

/** The members whose VM is kept for its data and that were retired before: they leave no more, and are not destroyed yet. */
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
      // Nothing is destroyed on a host that does not answer.
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
