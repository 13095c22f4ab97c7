/**
 * An RKE2 version: `vMAJOR.MINOR.PATCH[-rcN]+rke2rN`. SemVer regards two revisions of one patch as equal and sorts r2
 * above r10.
 */
export interface Rke2Version {
  major: number;
  minor: number;
  patch: number;
  /** Number of the release candidate. Undefined for a release, which is newer than all of its candidates. */
  candidate: number | undefined;
  /** The N of `rke2rN`: the same Kubernetes, packaged again, often with another etcd or containerd. */
  revision: number;
}

/** Numbers in the form of Kubernetes and SemVer: no leading zeros, and none that is too long to be compared. */
const GRAMMAR =
  /^v(0|[1-9]\d{0,4})\.(0|[1-9]\d{0,4})\.(0|[1-9]\d{0,4})(?:-rc(0|[1-9]\d{0,4}))?\+rke2r(0|[1-9]\d{0,4})$/;

/**
 * How many minor versions a kubelet may be older than the API server (Kubernetes' version skew policy); before 1.25
 * fewer.
 */
function oldestMinors(kubelet: Rke2Version): number {
  return kubelet.major === 1 && kubelet.minor < 25 ? 2 : 3;
}

/** The parts of a version; undefined when the text is not an RKE2 version. */
export function parseVersion(text: string): Rke2Version | undefined {
  const match = GRAMMAR.exec(text);
  if (match === null) return undefined;
  const [, major, minor, patch, candidate, revision] = match;
  return {
    major: Number(major),
    minor: Number(minor),
    patch: Number(patch),
    candidate: candidate === undefined ? undefined : Number(candidate),
    revision: Number(revision),
  };
}

/** Negative when `a` is older than `b`, 0 when they are equal, positive when `a` is newer. */
export function compareVersions(a: Rke2Version, b: Rke2Version): number {
  return (
    a.major - b.major ||
    a.minor - b.minor ||
    a.patch - b.patch ||
    compareCandidates(a.candidate, b.candidate) ||
    a.revision - b.revision
  );
}

function compareCandidates(a: number | undefined, b: number | undefined): number {
  if (a === b) return 0;
  if (a === undefined) return 1;
  if (b === undefined) return -1;
  return a - b;
}

/**
 * Whether an agent may join: it must not be newer than any server, and not more minor versions older than its kubelet
 * may be.
 */
export function agentMayJoin(agent: string, servers: readonly string[]): boolean {
  return whyAgentMayNotJoin(agent, servers) === undefined;
}

/** Why an agent may not join, in words; undefined when it may. A version that cannot be parsed is a reason. */
export function whyAgentMayNotJoin(agent: string, servers: readonly string[]): string | undefined {
  const wanted = parseVersion(agent);
  if (wanted === undefined) return `"${agent}" is not an RKE2 version`;
  if (servers.length === 0) return "the version of no server is known";
  for (const text of servers) {
    const server = parseVersion(text);
    if (server === undefined) return `"${text}" of a server is not an RKE2 version`;
    if (compareVersions(wanted, server) > 0) return `agents with ${agent} would be newer than a server with ${text}`;
    const most = oldestMinors(wanted);
    if (wanted.major !== server.major || server.minor - wanted.minor > most) {
      return `agents with ${agent} would be more than ${most} minor versions older than a server with ${text}`;
    }
  }
  return undefined;
}
