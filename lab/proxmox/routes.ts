import { accessRoutes } from "./api/access.ts";
import { clusterRoutes } from "./api/cluster.ts";
import { poolRoutes } from "./api/pools.ts";
import { storageRoutes } from "./api/storage.ts";
import { taskRoutes } from "./api/tasks.ts";
import { transferRoutes } from "./api/transfer.ts";
import { vmAgentRoutes } from "./api/vm-agent.ts";
import { vmCloneRoutes } from "./api/vm-clone.ts";
import { vmConfigRoutes } from "./api/vm-config.ts";
import { vmCreateRoutes } from "./api/vm-create.ts";
import { vmLifeRoutes } from "./api/vm-life.ts";
import { vmMigrateRoutes } from "./api/vm-migrate.ts";
import { vmPowerRoutes } from "./api/vm-power.ts";
import type { Route } from "./call.ts";

/** Every emulated endpoint. All others answer 501. */
export const routes: readonly Route[] = [
  ...clusterRoutes,
  ...poolRoutes,
  ...storageRoutes,
  ...transferRoutes,
  ...taskRoutes,
  ...accessRoutes,
  ...vmLifeRoutes,
  ...vmCreateRoutes,
  ...vmCloneRoutes,
  ...vmConfigRoutes,
  ...vmPowerRoutes,
  ...vmMigrateRoutes,
  ...vmAgentRoutes,
];

interface Compiled {
  route: Route;
  pattern: RegExp;
}

function compile(route: Route): Compiled {
  // A volume id may contain slashes; every other placeholder ends at a slash.
  const source = route.path.replace(
    /\{(\w+)\}/g,
    (_, name: string) => `(?<${name}>${name === "volume" ? ".+" : "[^/]+"})`,
  );
  return { route, pattern: new RegExp(`^${source}$`) };
}

const compiled = routes.map(compile);

/** The endpoint for a decoded path, with the values of its placeholders. */
export function findRoute(method: string, path: string): { route: Route; places: Record<string, string> } | undefined {
  for (const { route, pattern } of compiled) {
    const match = route.method === method ? pattern.exec(path) : null;
    if (match) return { route, places: { ...match.groups } };
  }
  return undefined;
}
