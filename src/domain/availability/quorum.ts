/**
 * May a server join etcd, leave it, or may anything else be disturbed now? Questions are answered with the reason for a no,
 * in words; undefined is a yes. Any doubt is a no. Everything is decided from what was just read: the caller reads the
 * servers again before each change and after it, because these answers are true for one change only.
 *
 * What etcd does itself (etcd-io/etcd `server/etcdserver/server.go`, seen with 3.6.5 in the lab)
 * - n voters need floor(n/2)+1 healthy ones. A learner does not count until it is promoted; there is one at a time, and while
 *   there is one nobody else joins ("too many learner members").
 * - It refuses to add a member while one voter is not connected ("unhealthy cluster"): with 1 of 4 dead every add fails.
 * - It lets a healthy voter go at 3 healthy of 4, and only then refuses: its own check keeps quorum, not a margin.
 * - It lets a dead voter go as long as the others have quorum, and a learner always.
 *
 * What we add, because tools that relied on etcd's check lost clusters
 * - Cluster API's rule: voters that are healthy after a change >= floor(voters after it / 2) + 1, where a new member counts as
 *   a voter that never comes up (kubernetes-sigs/cluster-api, KubeadmControlPlane's remediation). So one healthy voter may
 *   not become two: without the new one the old one has no quorum (harvester/harvester#10319).
 * - One open change at a time: no learner, no member without its Node, no Node without its member (rancher/rke2#347, #349;
 *   cluster-api#13667; one delete took two members in rancher/rancher#43173).
 * - Only the dead go while somebody is dead, and only when just one is: two dead servers are not routine. Of two voters the one
 *   that does not serve may go as well: the other serves, which it could not without the etcd of both (seed 5322 of the
 *   simulation). Where it cannot after all, etcd does not even take the order.
 * - The last voter stays (rancher/rancher#53836), and a healthy one goes only while more than the wanted ones are healthy
 *   (rancher/rancher#43097, #36562).
 */

/** What is known of one server, from etcd's members and from the cluster's Nodes: every name that is in either. */
export interface Server {
  /** Host name, as its Node has it. RKE2 names members after it (`NODE-8hex`); one that never started has none: then its id. */
  name: string;
  /** Its part in etcd. `none`: its Node is there, and no member. */
  member: "voter" | "learner" | "none";
  /** `unhealthy`: it was asked and does not serve. `unknown`: nobody could tell, or the answer was not understood. */
  health: "healthy" | "unhealthy" | "unknown";
  /** Whether the cluster has its Node. */
  node: boolean;
}

/** How many of so many voters etcd needs. */
export function quorumOf(voters: number): number {
  return Math.floor(voters / 2) + 1;
}

/**
 * Why nothing that rests on the control plane may begin: no join, and no step of agents either. Calm is: each server has its
 * Node and is a healthy voter. How many there are is not asked.
 */
export function controlPlaneUnhealthyReason(servers: readonly Server[]): string | undefined {
  return inWords([...unclear(servers), ...servers.flatMap(open), ...servers.flatMap(dead)]);
}

/**
 * Why no server may be added now.
 * @param name host name of the new server
 * @param twoVoters `accepted`: the caller answers for the time in which neither of two voters may fail. A cluster that is
 *   being founded holds nothing yet; one that serves needs a fresh snapshot and the configuration's consent
 */
export function whyServerMayNotJoin(
  name: string,
  servers: readonly Server[],
  twoVoters: "refused" | "accepted" = "refused",
): string | undefined {
  const why = controlPlaneUnhealthyReason(servers);
  if (why !== undefined) return why;
  // etcd ends a new member of a known name: "duplicate node name found" (k3s-io/k3s#4025, #4210).
  if (servers.some((server) => server.name === name)) return `${name} is a member already`;
  const [only, second] = voters(servers);
  if (only === undefined || second !== undefined || twoVoters === "accepted") return undefined;
  return `${only.name} is the only voter, and of two voters neither may fail`;
}

/**
 * Why a member may not be removed now. One that is dead, or still learns, may go from a control plane that is calm apart from
 * it: etcd admits nobody while it is there, so waiting for its successor first would be waiting for ever.
 * @param wanted number of servers that the configuration asks for: so many healthy voters stay when a healthy one goes
 */
export function whyServerMayNotLeave(name: string, servers: readonly Server[], wanted: number): string | undefined {
  const leaver = servers.find((server) => server.name === name);
  if (leaver === undefined || leaver.member === "none") return `${name} is not a member of etcd`;
  const others = servers.filter((server) => server !== leaver);
  return inWords([
    ...unclear(servers),
    ...others.flatMap(open),
    // A learner takes nothing with it. Voters that are dead come next, and could not go while it is there.
    ...(leaver.member === "learner" ? [] : others.flatMap(dead)),
    ...tooFew(leaver, servers, wanted),
  ]);
}

/**
 * What differs between etcd's members and the ones that there have to be, asked after every step: a stale or doubled removal
 * shows here before the next one is made (rancher/rke2#3600, #2088).
 * @param expected host names of all servers that have to be voters, and of nobody else
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

/** What makes the whole picture worthless: nobody may be judged by it. */
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

/** A change that has begun and is not over. */
function open({ name, member, node }: Server): string[] {
  if (member === "learner") return [`${name} is a learner${node ? "" : " without a Node"}: its join is not over`];
  if (member === "none")
    return [`${name} is no member of etcd${node ? " and still has its Node" : " and has no Node"}`];
  return node ? [] : [`${name} is a voter without a Node`];
}

function dead({ name, member, health }: Server): string[] {
  return member === "voter" && health === "unhealthy" ? [`${name} is a voter and not healthy`] : [];
}

function tooFew(leaver: Server, servers: readonly Server[], wanted: number): string[] {
  const all = voters(servers).length;
  const healthy = voters(servers).filter((server) => server.health === "healthy").length;
  const serves = leaver.member === "voter" && leaver.health === "healthy";
  const isIllOfTwo = all === 2 && healthy === 1 && leaver.member === "voter" && !serves;
  if (healthy < quorumOf(all) && !isIllOfTwo) {
    return [`etcd has no quorum: ${healthy} of ${all} voters are healthy, and ${quorumOf(all)} are needed`];
  }
  if (leaver.member === "learner") return [];
  if (all === 1) return [`${leaver.name} is the last voter`];
  // With the others healthy the rest has quorum; a dead voter was none of the wanted ones any more.
  if (!serves || healthy - 1 >= wanted) return [];
  return [`${healthy - 1} healthy voters would stay, and ${wanted} are wanted`];
}

function voters(servers: readonly Server[]): Server[] {
  return servers.filter((server) => server.member === "voter");
}

function inWords(reasons: readonly string[]): string | undefined {
  return reasons.length === 0 ? undefined : reasons.join("; ");
}
