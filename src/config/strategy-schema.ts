/** The keys that say how the nodes of a pool are replaced. */
import { z } from "zod";

const count = (least: number) => z.int().min(least);
const share = z
  .custom<number | string>(
    (value) => (typeof value === "string" ? /^\d{1,3}%$/.test(value) : Number.isInteger(value) && Number(value) >= 0),
    'must be a number of nodes or a percentage such as "10%"',
  )
  .meta({ type: ["integer", "string"], values: "whole number, or a percentage of the slots such as `10%`" });
export const onFailure = z.enum(["hold", "rollback"]).default("hold");

export const strategy = z.strictObject({
  kind: z.enum(["rolling", "blueGreen"]).default("rolling").meta({
    description:
      "`rolling`: a few nodes at a time. `blueGreen`: all new nodes join first, then the old ones are decommissioned; this needs twice the VMs.",
    change: "In place.",
  }),
  surge: share.exactOptional().meta({
    description:
      "Number of VMs above the number of slots that may run at the same time, at least 1. A percentage is rounded up. Only for `rolling`.",
    unset: "`1`",
    change: "In place.",
  }),
  maxUnavailable: share.default(1).meta({
    description:
      "Number of slots that may be without a serving node at the same time, less than `slots`. A percentage is rounded down. A value above `surge` has no further effect, because each successor joins first. 0 means, as in a Deployment, one slot at a time, after its successor serves.",
    change: "In place.",
  }),
  canary: share.exactOptional().meta({
    description:
      "Number of slots that are replaced first, less than `slots`; the other slots wait until these have soaked. A percentage is rounded up. It needs `soakSeconds`.",
    unset: "no canary",
    change: "In place, also during a rollout.",
  }),
  soakSeconds: count(0).default(0).meta({
    description:
      "Time for which new nodes must stay healthy before their generation counts as proved, in seconds. The run itself waits up to 120 s; with a longer soak, a later run continues the rollout.",
    change: "In place, also for a soak that is running.",
  }),
  onFailure: onFailure.meta({
    description:
      "What the run after a failed verdict does. `hold`: every slot keeps the node that it has. `rollback`: every slot returns to the proved generation that the pool served on before.",
    change: "In place.",
  }),
});
