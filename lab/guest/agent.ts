/** RKE2 on an agent: joins through the registration address and runs a kubelet. */
import { Kube } from "../kube.ts";
import type { GuestContext } from "./context.ts";
import { checkFamilies, nodeIps } from "./families.ts";
import type { Fragment } from "./join.ts";
import { paths } from "./join.ts";
import { Kubelet } from "./kubelet.ts";
import { fetchCa, JoinFailure, kubeletIdentity, readToken } from "./registration.ts";
import type { Scope } from "./scope.ts";

export interface NodeStart {
  guest: GuestContext;
  fragment: Fragment;
  /** Milliseconds of the monotonic clock before which the Node is not registered. */
  registerAt: number;
}

/** Runs RKE2 on an agent. Resolves when the Node is registered. @throws JoinFailure */
export async function runAgent(start: NodeStart, scope: Scope): Promise<void> {
  const { guest, fragment } = start;
  if (fragment.server === undefined) throw new JoinFailure("--server is required");
  const token = readToken(fragment.token);
  if (!token && !guest.files.get(paths.kubeletCertificate)) throw new JoinFailure("--token is required");
  const ca = await fetchCa(guest, fragment.server, token, scope.signal);
  const api = new URL(fragment.server);
  api.port = "6443";
  await runKubelet(start, { supervisor: fragment.server, api: api.origin, ca, token }, scope);
}

/** Gets the node's identity and starts its kubelet with it. */
export async function runKubelet(
  { guest, fragment, registerAt }: NodeStart,
  from: { supervisor: string; api: string; ca: string; token: ReturnType<typeof readToken> },
  scope: Scope,
): Promise<void> {
  const { supervisor, api, ca, token } = from;
  const cluster = [...guest.rack.clusters.values()].find(({ serverCa }) => serverCa.cert === ca);
  if (cluster) checkFamilies(cluster.ranges, nodeIps(guest, fragment));
  const { credentials } = await kubeletIdentity(guest, supervisor, ca, fragment.nodeName, token, scope.signal);
  const kube = new Kube({ server: api, ca, ...credentials });
  scope.defer(() => kube.close());
  await new Kubelet({ guest, kube, fragment, registerAt }, scope).start();
}
