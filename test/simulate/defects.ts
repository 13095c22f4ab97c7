import type { World } from "./world.ts";
import type { Answer, Call } from "./wire.ts";

/** Drivers that are wrong, as their requests show it: what the watcher has to see. */
export const defects: Record<string, { plant: (world: World) => void; seen: RegExp }> = {
  "a drain that deletes pods": {
    plant: replacing(isEviction, (call, honest) => ({
      ...honest({ ...call, method: "DELETE", path: call.path.replace(/\/eviction$/, ""), body: "" }),
      status: 201,
    })),
    seen: /instead of evicting it/,
  },
  "a drain that sees no pods": {
    plant: replacing(
      ({ path, query }) => path === "/api/v1/pods" && query.has("fieldSelector") && !query.has("watch"),
      (call, honest) => ({ status: 200, body: honest(call).body?.replace(/"items":.*$/s, '"items":[]}') ?? "" }),
    ),
    seen: /off with pods on it/,
  },
  "a step that believes to hold every lease": {
    plant: replacing(
      ({ path, method }) => /\/leases(\/|$)/.test(path) && (method === "POST" || method === "PUT"),
      () => ({ status: 201, body: JSON.stringify({ metadata: { resourceVersion: "1" } }) }),
    ),
    seen: /without the lease/,
  },
  "a run that gives nothing back": {
    plant: replacing(
      ({ path, method }) => path.includes("/leases/") && method === "DELETE",
      () => ({ status: 200, body: "{}" }),
    ),
    seen: /the lease .* is left|without a ticket|calm run/,
  },
  "a retirement that forgets the Node": {
    plant: replacing(
      ({ path, method }) => path.startsWith("/api/v1/nodes/") && method === "DELETE",
      () => ({ status: 200, body: "{}" }),
    ),
    seen: /which is a member of the cluster|Nodes of workers at the end/,
  },
};

function isEviction({ path }: Call): boolean {
  return path.endsWith("/eviction");
}

function replacing(concerns: (call: Call) => boolean, answer: (call: Call, honest: World["honest"]) => Answer) {
  return (world: World): void => {
    world.defect = (call) => (call.api === "kube" && concerns(call) ? answer(call, world.honest) : world.honest(call));
  };
}
