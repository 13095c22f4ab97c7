/** The requests of a run at which its process can be killed. */
import type { Request } from "../../lab/proxmox/data-centre.ts";
import { site } from "../../lab/proxmox/site.ts";
import type { BakeStage } from "./bake-step.ts";

/** Where a process is killed: at a request, as the n-th of its kind after so many changes. */
export interface Boundary {
  moment: "before" | "after";
  request: string;
  changes: number;
}

const named = ({ method, endpoint }: Request): string => `${method} ${endpoint}`;
const isChange = ({ method }: Request): boolean => method !== "GET";

/** Every boundary of a run: before and after each change, and before each kind of read between two changes. */
export async function boundariesOf(stage: BakeStage, run: () => Promise<unknown>): Promise<Boundary[]> {
  const found = new Map<string, Boundary>();
  let changes = 0;
  stage.lab.bench.dc.fault = (moment, request) => {
    if (request.token !== site.bakeToken) return undefined;
    const one = { moment, request: named(request), changes };
    if (isChange(request) || moment === "before") found.set(JSON.stringify(one), one);
    if (isChange(request) && moment === "after") changes += 1;
    return undefined;
  };
  await run();
  stage.lab.bench.dc.fault = undefined;
  return [...found.values()];
}

/** Whether a request is at a boundary; called for every request of a run, in their order. */
export function isAt(boundary: Boundary): (moment: "before" | "after", request: Request) => boolean {
  let changes = 0;
  return (moment, request) => {
    const is = boundary.moment === moment && boundary.request === named(request) && boundary.changes === changes;
    if (isChange(request) && moment === "after") changes += 1;
    return is;
  };
}

export const told = ({ moment, request, changes }: Boundary): string =>
  `${moment} ${request}, after ${changes} changes`;
