import type { Defect } from "./defects.ts";
import { calm } from "./faults.ts";
import type { Stored } from "./objects.ts";
import type { Scenario } from "./scenario.ts";
import type { Call } from "./wire.ts";

/** Destroys that take nodes before what has to say so does, one for each rule of the watcher. */
export const teardownDefects: Record<string, Defect> = {
  "a destroy that takes agents before anything says that the cluster goes away": {
    plant: (world) => {
      world.defect = (call) => {
        if (!call.process.isOfDestroy) return world.honest(call);
        if (isNote(call)) return { status: 200, reason: "OK", body: JSON.stringify({ data: null }) };
        if (!call.path.endsWith("/configmaps/cluster")) return world.honest(call);
        const answer = world.honest(call.body.includes("goingAway") ? { ...call, method: "GET", body: "" } : call);
        if (answer.status !== 200 || answer.body === undefined) return answer;
        const map = JSON.parse(answer.body) as Stored;
        const data = { ...(map.data as object), goingAway: "2026-01-05T00:00:00.000Z" };
        return { ...answer, body: JSON.stringify({ ...map, data }) };
      };
    },
    seen: /takes demo-workers-\S+ away while .*demo-servers-\S+ does not say that the cluster goes away/,
    shape: destroyed,
  },
  "a destroy that takes servers whose VMs do not say that the cluster goes away": {
    plant: (world) => {
      world.defect = (call) =>
        call.process.isOfDestroy && isNote(call)
          ? { status: 200, reason: "OK", body: JSON.stringify({ data: null }) }
          : world.honest(call);
    },
    seen: /takes demo-servers-\S+ away while .*demo-servers-\S+ does not say that the cluster goes away/,
    shape: destroyed,
  },
};

/** Whether it writes into the notes of a VM that the cluster is being destroyed. */
function isNote({ method, path, body }: Call): boolean {
  return method === "PUT" && path.endsWith("/config") && body.includes("description=");
}

/** A story in calm weather that may end with a destroy. */
function destroyed(scenario: Scenario): Scenario {
  const acts = scenario.acts.slice(0, 1).map((act) => ({ ...act, weather: calm, kill: undefined, blows: [] }));
  return { ...scenario, acts, siteOff: 0, allowDestroy: true, localVolumes: undefined, zonalVolumes: undefined };
}
