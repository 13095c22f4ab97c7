/** What happens to bakes that one seed has drawn: to their requests, their guest, their storage and their process. */
import type { Fault, Request } from "../../lab/proxmox/data-centre.ts";
import { site } from "../../lab/proxmox/site.ts";
import type { BakeFault } from "../../lab/types.ts";
import { Chance } from "../simulate/chance.ts";
import type { Meets } from "./bake-step.ts";

/** What one update meets. */
export interface Weather {
  /** Share of requests that fail. */
  rate: number;
  /** Type of the task that fails, and the how manieth of them. */
  task: { type: string; nth: number } | undefined;
  guest: BakeFault | undefined;
  /** Storage without room. */
  full: string | undefined;
  /** The boundary at which the process is killed, counted over all requests. */
  killAt: number | undefined;
}

const tasks = [
  "imgcopy",
  "qmcreate",
  "resize",
  "qmstart",
  "qmshutdown",
  "qmstop",
  "qmtemplate",
  "qmclone",
  "qmdestroy",
];
const stages = ["quiet", "packages", "images", "units", "files", "identity", "traces", "trim"];

/** The weathers of the updates of a seed, in their order. */
export function weathersOf(seed: number): Weather[] {
  const chance = new Chance(seed, "bake weather");
  return Array.from({ length: chance.between(1, 3) }, () => ({
    rate: chance.pick([0, 0.01, 0.03, 0.1]),
    task: chance.happens(0.4) ? { type: chance.pick(tasks), nth: chance.between(1, 2) } : undefined,
    guest: chance.happens(0.3) ? guestFault(chance) : undefined,
    full: chance.happens(0.1) ? chance.pick([site.storage, site.imageStorage]) : undefined,
    killAt: chance.happens(0.5) ? chance.between(1, 250) : undefined,
  }));
}

function guestFault(chance: Chance): BakeFault {
  const stage = chance.pick(stages);
  // One that hangs, or whose agent is silent, is waited for through thousands of looks.
  if (chance.happens(0.2)) return chance.pick<BakeFault>([{ fault: "no-agent" }, { fault: "hang", stage }]);
  return chance.pick<BakeFault>([
    { fault: "fails", stage, output: ["it fails"] },
    { fault: "power-cut", stage },
    { fault: "dies", stage },
    { fault: "no-archive" },
    { fault: "cut-artefact" },
  ]);
}

const answers: readonly Fault[] = [
  { answer: { status: 500, reason: "got timeout" } },
  { answer: { status: 503, reason: "Service Unavailable" } },
  { answer: { status: 595, reason: "Connection timed out" } },
  { drop: true },
];

/** What the requests of an update meet. @param seed of the story, and number of the update */
export function meetsOf({ rate, killAt }: Weather, seed: string): Meets {
  const chance = new Chance(0, `requests ${seed}`);
  let count = 0;
  return (moment) => {
    count += 1;
    if (count === killAt) return "kill";
    if (!chance.happens(rate / 2)) return undefined;
    // An answer is lost after the effect, and everything else comes before it.
    return moment === "after" ? { drop: true } : chance.pick(answers);
  };
}

/** Whether a request changes what is of no bake and of no proof. */
export function touchesOthers({ method, path, params }: Request, own: readonly number[], volume: RegExp): boolean {
  if (method === "GET") return false;
  const [, vmid] = /\/qemu\/(\d+)/.exec(path) ?? [];
  const named = [vmid, params.get("newid"), path.endsWith("/qemu") ? params.get("vmid") : undefined];
  if (named.some((id) => id !== undefined && !own.includes(Number(id)))) return true;
  const [, removed] = method === "DELETE" ? (/\/content\/(.+)$/.exec(path) ?? []) : [];
  return removed !== undefined && !volume.test(removed);
}
