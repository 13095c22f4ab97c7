/** Weather that the product does not survive yet, and promises that are not watched yet, a line each, and why. All else is on; a line goes with its mend. */
const notYet: Record<string, string> = {
  "surge over successors that run already":
    "a slot that is down comes first, also where an earlier run has started the successor of another one: one VM more runs for each",
  "maxUnavailable over nodes that fall in a run":
    "who is down is counted when a run is planned: a node that falls after its slot was handed over holds no other slot back",
};

/** @param weather an event, or a fault of a kind of request: `request: fault` */
export function isOn(weather: string): boolean {
  return !(weather in notYet);
}

/** What is off, for the end of a report. */
export function offWords(): string[] {
  return Object.entries(notYet).map(([weather, why]) => `off: ${weather} (${why})`);
}
