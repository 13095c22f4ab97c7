/**
 * Whether a server may join or leave etcd, or anything else may be disturbed now. The functions return the reason for a
 * no, in words; undefined means yes. Any doubt is a no. Decisions rest on fresh data only: the caller reads the servers
 * again before and after each change, because an answer holds for one change only.
 *
 * What etcd does itself (etcd-io/etcd `server/etcdserver/server.go`, observed with 3.6.5 in the lab)
 * - n voters need floor(n/2)+1 healthy voters. A learner does not count until it is promoted. There is one learner at a
 *   time, and while it exists no other member joins ("too many learner members").
 * - It refuses to add a member while a voter is not connected ("unhealthy cluster"): with 1 of 4 dead every add fails.
 * - It lets a healthy voter leave at 3 healthy of 4, and refuses only after that: its check keeps quorum, not a margin.
 * - It lets a dead voter leave as long as the others have quorum, and a learner always.
 * - It promotes a learner whose log has caught up, whether or not that one still runs.
 *
 * What is checked in addition, because tools that relied on etcd's check lost clusters
 * - Cluster API's rule: voters that are healthy after a change >= floor(voters after it / 2) + 1, where a new member
 *   counts as a voter that never comes up (kubernetes-sigs/cluster-api, KubeadmControlPlane's remediation). So one
 *   healthy voter may not become two: without the new voter the old one has no quorum (harvester/harvester#10319).
 * - One open change at a time: no learner, no member without its Node, no Node without its member (rancher/rke2#347,
 *   #349; cluster-api#13667; one delete removed two members in rancher/rancher#43173).
 * - While a voter is dead only the dead voter may leave, and only when no second voter is dead: two dead servers are
 *   not routine. Of two voters, the voter that does not serve may leave as well: the other voter serves, which it could
 *   not without the etcd of both. If etcd has no quorum after all, it does not even accept the removal.
 * - The last voter stays (rancher/rancher#53836), and a healthy voter leaves only while more than the wanted number are
 *   healthy (rancher/rancher#43097, #36562).
 */

/** A server as etcd's members and the cluster's Nodes show it; each name in either is a server. */
export interface Server {
  /**
   * Host name, as in its Node. RKE2 derives member names from it (`NODE-8hex`). A member that never started has no
   * name: then it is the member's id.
   */
  name: string;
  /** Its role in etcd. `none`: its Node exists, but no member. */
  member: "voter" | "learner" | "none";
  /**
   * `unhealthy`: it was checked and does not serve. `unknown`: the check was not possible, or its answer was not
   * understood.
   */
  health: "healthy" | "unhealthy" | "unknown";
  /** Whether its Node exists in the cluster. */
  node: boolean;
}

/**
 * Longest time, in seconds, until a learner is a voter or out of etcd: RKE2's leader looks every 15 s, promotes one that has
 * caught up, and removes one without progress for five minutes (k3s pkg/etcd/etcd.go).
 */
export const learnerSeconds = 360;

/** The number of healthy voters that etcd needs out of so many voters. */
export function quorumOf(voters: number): number {
  return Math.floor(voters / 2) + 1;
}

/**
 * Why nothing that depends on the control plane may begin: no join, and no step of agents either. The control plane is
 * healthy when each server has its Node and is a healthy voter. The number of servers is not checked.
 */
export function controlPlaneUnhealthyReason(servers: readonly Server[]): string | undefined {
  return inWords([...unclear(servers), ...servers.flatMap(open), ...servers.flatMap(dead)]);
}

/**
 * Why no server may be added now.
 * @param name host name of the new server
 * @param twoVoters `accepted`: the caller takes responsibility for the time in which neither of two voters may fail. A
 * cluster that is being bootstrapped holds no data yet; a cluster that serves needs a fresh snapshot and the
 * configuration's consent
 */
export function whyServerMayNotJoin(
  name: string,
  servers: readonly Server[],
  twoVoters: "refused" | "accepted" = "refused",
): string | undefined {
  const why = controlPlaneUnhealthyReason(servers);
  if (why !== undefined) return why;
  // etcd shuts down a new member whose name is taken: "duplicate node name found" (k3s-io/k3s#4025, #4210).
  if (servers.some((server) => server.name === name)) return `${name} is a member already`;
  const [only, second] = voters(servers);
  if (only === undefined || second !== undefined || twoVoters === "accepted") return undefined;
  return `${only.name} is the only voter, and of two voters neither may fail`;
}

/**
 * Why a member may not be removed now. A dead member or a learner may leave when the rest of the control plane is
 * healthy: etcd admits no member while it is there, so waiting for its successor first would never end.
 * @param wanted number of servers that the configuration asks for: so many healthy voters must stay when a healthy
 * voter leaves
 */
export function whyServerMayNotLeave(name: string, servers: readonly Server[], wanted: number): string | undefined {
  const departing = servers.find((server) => server.name === name);
  if (departing === undefined || departing.member === "none") return `${name} is not a member of etcd`;
  const others = servers.filter((server) => server !== departing);
  return inWords([
    ...unclear(servers),
    ...others.flatMap(open),
    // The departure of a learner costs no vote. Dead voters leave after it, and could not leave while it is there.
    ...(departing.member === "learner" ? [] : others.flatMap(dead)),
    ...tooFew(departing, servers, wanted),
  ]);
}

/**
 * Whether a member may leave only because it does not serve: if it did, too few healthy voters would stay.
 * @param wanted as above
 */
export function mayLeaveAsDead(name: string, servers: readonly Server[], wanted: number): boolean {
  const serving = servers.map((server): Server => (server.name === name ? { ...server, health: "healthy" } : server));
  const [now, then] = [servers, serving].map((some) => whyServerMayNotLeave(name, some, wanted));
  return now === undefined && then !== undefined;
}

/**
 * The differences between etcd's members and the expected members, checked after every step: a stale or repeated
 * removal is found before the next one is made (rancher/rke2#3600, #2088).
 * @param expected host names of all servers that have to be voters, and of no others
 */
export function whyMembersAreNot(expected: readonly string[], servers: readonly Server[]): string | undefined {
  const members = servers.filter((server) => server.member !== "none");
  const missing = expected.filter((name) => !members.some((member) => member.name === name));
  const strangers = members.filter((member) => !expected.includes(member.name));
  const learners = members.filter((member) => member.member === "learner" && expected.includes(member.name));
  return inWords([
    ...doubles(servers),
    ...missing.map((name) => `${name} has to be a member of etcd and is none`),
    ...learners.map(({ name }) => `${name} has to be a voter and is a learner`),
    ...strangers.map(({ name, member }) => `${name} is a ${member} of etcd and nobody expects it`),
  ]);
}

/** What makes the whole observed state unusable: no server may be judged by it. */
function unclear(servers: readonly Server[]): string[] {
  const unknown = servers.filter((server) => server.health === "unknown");
  return [
    ...(voters(servers).length === 0 ? ["no voter of etcd is known"] : []),
    ...doubles(servers),
    ...unknown.map(({ name }) => `whether ${name} is healthy is not known`),
  ];
}

function doubles(servers: readonly Server[]): string[] {
  const twice = [...Map.groupBy(servers, (server) => server.name)].filter(([, same]) => same.length > 1);
  return twice.map(([name, same]) => `${same.length} servers are called ${name}`);
}

/** A change of membership that has begun and is not complete. */
function open({ name, member, node }: Server): string[] {
  if (member === "learner") return [`${name} is a learner${node ? "" : " without a Node"}: its join is not over`];
  if (member === "none")
    return [`${name} is no member of etcd${node ? " and still has its Node" : " and has no Node"}`];
  return node ? [] : [`${name} is a voter without a Node`];
}

function dead({ name, member, health }: Server): string[] {
  return member === "voter" && health === "unhealthy" ? [`${name} is a voter and not healthy`] : [];
}

function tooFew(departing: Server, servers: readonly Server[], wanted: number): string[] {
  const all = voters(servers).length;
  const healthy = voters(servers).filter((server) => server.health === "healthy").length;
  const serves = departing.member === "voter" && departing.health === "healthy";
  const isIllOfTwo = all === 2 && healthy === 1 && departing.member === "voter" && !serves;
  if (healthy < quorumOf(all) && !isIllOfTwo) {
    return [`etcd has no quorum: ${healthy} of ${all} voters are healthy, and ${quorumOf(all)} are needed`];
  }
  if (departing.member === "learner") return [];
  if (all === 1) return [`${departing.name} is the last voter`];
  // While the others are healthy they have quorum; a dead voter did not count as one of the wanted voters.
  if (!serves || healthy - 1 >= wanted) return [];
  return [`${healthy - 1} healthy voters would stay, and ${wanted} are wanted`];
}

function voters(servers: readonly Server[]): Server[] {
  return servers.filter((server) => server.member === "voter");
}

function inWords(reasons: readonly string[]): string | undefined {
  return reasons.length === 0 ? undefined : reasons.join("; ");
}
