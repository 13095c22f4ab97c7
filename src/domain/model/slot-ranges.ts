/** Slots as one short text, however many they are: `0-3,7`. */
export function slotRanges(slots: readonly number[]): string {
  const ranges: [number, number][] = [];
  for (const slot of [...new Set(slots)].toSorted((a, b) => a - b)) {
    const last = ranges.at(-1);
    if (last?.[1] === slot - 1) last[1] = slot;
    else ranges.push([slot, slot]);
  }
  return ranges.map(([first, last]) => (first === last ? `${first}` : `${first}-${last}`)).join(",");
}

/**
 * Whether the ranges contain a slot. A part that cannot be parsed contains every slot, so that no slot is given up
 * because of it.
 */
export function hasSlot(ranges: string, slot: number): boolean {
  return ranges
    .split(",")
    .filter(Boolean)
    .some((range) => {
      const [, first, last = first] = /^(\d+)(?:-(\d+))?$/.exec(range) ?? [];
      return first === undefined || (slot >= Number(first) && slot <= Number(last));
    });
}
