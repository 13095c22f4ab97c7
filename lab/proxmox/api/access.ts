/** Endpoint of the permissions of a token. */
import { anyone } from "../call.ts";
import type { Call, Route } from "../call.ts";
import { spec } from "../params.ts";
import { knownPaths, needAll, privilegesOn } from "../permissions.ts";

function shown(call: Call, path: string): Record<string, number> {
  const rights = privilegesOn(call.dc, call.token, path);
  return Object.fromEntries([...rights].map(([name, propagate]) => [name, propagate ? 1 : 0]));
}

/** The privileges of the calling token, by path. Paths without any privilege are left out. */
function permissions(call: Call): Record<string, Record<string, number>> {
  const { dc, token, params } = call;
  const user = params.get("userid");
  if (user !== undefined && user !== token.id) needAll(dc, token, "/access", ["Sys.Audit"]);
  const path = params.get("path") ?? "";
  if (path !== "") return { [path]: shown(call, path) };
  const all = knownPaths(call.dc).map((known) => [known, shown(call, known)] as const);
  return Object.fromEntries(all.filter(([, rights]) => Object.keys(rights).length > 0));
}

export const accessRoutes: Route[] = [
  {
    method: "GET",
    path: "access/permissions",
    allow: anyone,
    params: { path: spec.text, userid: spec.text },
    run: permissions,
  },
];
