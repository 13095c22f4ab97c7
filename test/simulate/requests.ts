/** The part of a request that is known without its answer. */
export interface Asked {
  api: "pve" | "kube" | "supervisor" | "provider";
  method: string;
  /** Without `/api2/json`. */
  path: string;
  query: URLSearchParams;
}

/**
 * The kind of a request: method and path, without what differs between objects. It is derived by rule, so that a
 * request that a step newly makes is a kind of its own from the start.
 */
export function requestOf({ api, method, path, query }: Asked): string {
  if (api === "kube" && path.startsWith("/api"))
    return `kube ${query.get("watch") === "true" ? "WATCH" : method} ${objectOf(path)}`;
  if (api === "pve") return `pve ${method} ${placeOf(path)}`;
  return `${api} ${method} ${path}`.trimEnd();
}

/** `/nodes/H/qemu/N/config`: placeholders in place of hosts, VMIDs and tasks. */
function placeOf(path: string): string {
  return path
    .replace(/^\/nodes\/[^/]+/, "/nodes/H")
    .replace(/\/qemu\/\d+/, "/qemu/N")
    .replace(/\/tasks\/UPID[^/]+/, "/tasks/T");
}

/** `pods/eviction`, `nodes/*`, `kube-system/leases`: a collection, an object of it, a subresource of that. */
function objectOf(path: string): string {
  const [, namespace, rest = path] =
    /^\/apis?\/.*?\bv1[a-z0-9]*\/(?:namespaces\/([^/]+)\/(?=.))?(.*)$/.exec(path) ?? [];
  const [collection = "", name, ...part] = rest.split("/");
  const place = namespace === undefined || collection === "pods" ? collection : `${namespace}/${collection}`;
  return [place, ...(name === undefined || name === "" ? [] : ["*"]), ...part].join("/");
}
