import type { Problem } from "../model/problem.ts";
import { BEFORE_THE_TABLE, compareEtcd, etcdOf, isWithdrawn, RELEASES, type Etcd } from "./releases.ts";
import type { ObservedNode, PoolSpec } from "../model/types.ts";
import { compareVersions, parseVersion, whyAgentMayNotJoin, type Rke2Version } from "./versions.ts";

/**
 * Which RKE2 versions servers may be upgraded to from which. Nothing in RKE2, Rancher or system-upgrade-controller
 * checks this (rke2-docs, `docs/upgrades/manual.md` and `automated.md`; rancher/rke2#6657, #3755).
 */

/** The fields of a live node that the check of an upgrade reads. */
export type LiveVersion = Pick<ObservedNode, "name" | "role" | "kubelet">;

/**
 * The fields of the pool that the check of an upgrade reads: the node that this run moves it to, which after a rollback
 * is not the configured one.
 */
export type ServerPool = Pick<PoolSpec, "role" | "node">;

/** A version that servers run or are to run. */
interface Release {
  text: string;
  version: Rke2Version;
  /** The nodes that run it, or the image that contains it. */
  where: string;
}

/**
 * The only etcd version from which an upgrade to 3.6 is safe: older ones bring removed members back (rancher/rke2#9577
 * to #9581).
 */
const STEPPING_STONE: Etcd = { minor: 5, patch: 26, exact: true };
const ETCD_3_6: Etcd = { minor: 6, patch: 0, exact: true };

/**
 * Why the servers may not be upgraded from the versions that they run to that of the pool's image. Every live node
 * counts, also a node that will leave: old and new nodes run side by side. The same version in another image is no
 * upgrade.
 * @param live all nodes of the cluster; empty when it is bootstrapped
 */
export function hopProblems(pool: ServerPool, live: readonly LiveVersion[]): Problem[] {
  if (pool.role !== "server") return [];
  const servers = live.filter((node) => node.role === "server");
  const others = servers.filter((node) => node.kubelet !== pool.node.rke2);
  if (servers.length > 0 && others.length === 0) return [];

  const before = [...Map.groupBy(others, (node) => node.kubelet)];
  const texts = [
    { text: pool.node.rke2, where: `controlPlane.image: ${pool.node.image}` },
    ...before.map(([text, nodes]) => ({ text, where: namesOf(nodes) })),
  ];
  const unread = texts.filter(({ text }) => parseVersion(text) === undefined).map(unreadable);
  const [to, ...from] = texts.flatMap(releaseOf);
  if (to === undefined || unread.length > 0) return unread;
  return [
    ...(isWithdrawn(to.text) ? [withdrawn(to)] : []),
    ...from.flatMap((release) => problemsBetween(release, to)),
    ...agentProblems(to, live),
  ];
}

/**
 * What an operator has to know about a permitted upgrade before it begins: sentences for the preview.
 * @param live all nodes of the cluster
 */
export function hopNotes(pool: ServerPool, live: readonly LiveVersion[]): string[] {
  const to = parseVersion(pool.node.rke2);
  const servers = live.filter((node) => node.role === "server" && node.kubelet !== pool.node.rke2);
  if (pool.role !== "server" || to === undefined || servers.length === 0) return [];
  const crosses = (minor: number) =>
    to.minor >= minor && servers.some((node) => (parseVersion(node.kubelet)?.minor ?? minor) < minor);
  return [
    `there is no way back from RKE2 ${pool.node.rke2} but restoring an etcd snapshot that was taken before`,
    ...INGRESS_NOTES.filter(({ minor }) => crosses(minor)).map(({ words }) => words),
  ];
}

/**
 * RKE2 phases ingress-nginx out (rke2-docs, `docs/release-notes/v1.36.X.md`; rke2,
 * `docs/adrs/012-prime-flag-and-ingress-nginx.md`).
 */
const INGRESS_NOTES = [
  {
    minor: 36,
    words:
      "from RKE2 1.36 on the core images hold Traefik: where ingress-nginx stays, the image needs rke2-images-ingress-nginx",
  },
  {
    minor: 37,
    words:
      "RKE2 1.37 has no ingress-nginx for community users: move what it serves to Traefik before (ingress_migration)",
  },
];

function releaseOf({ text, where }: Omit<Release, "version">): Release[] {
  const version = parseVersion(text);
  return version === undefined ? [] : [{ text, version, where }];
}

function unreadable({ text, where }: Omit<Release, "version">): Problem {
  return {
    what: `"${text}" of servers is not an RKE2 version`,
    where,
    todo: "no hop can be judged without it: see what runs there, and what the image's tags say",
  };
}

function withdrawn(to: Release): Problem {
  return {
    what: `RKE2 ${to.text} was withdrawn after its release`,
    where: to.where,
    todo: "choose an image with a newer release of the same minor version",
  };
}

function problemsBetween(from: Release, to: Release): Problem[] {
  if (compareVersions(to.version, from.version) < 0) return [goesBack(from, to)];
  const skips = from.version.major !== to.version.major || to.version.minor - from.version.minor > 1;
  return [...(skips ? [skipsMinors(from, to)] : []), ...etcdProblems(from, to)];
}

/**
 * Applies to a revision too: etcd has refused to go back by a patch version, "invalid downgrade" (rancher/rke2#9318).
 */
function goesBack(from: Release, to: Release): Problem {
  return {
    what: `servers cannot go back from RKE2 ${from.text} to ${to.text}`,
    where: `${to.where}; ${from.text} runs on ${from.where}`,
    todo: `choose an image with ${from.text} or newer; only restoring an etcd snapshot that was taken on ${to.text} leads back`,
  };
}

/** API servers of one control plane may be at most one minor version apart (Kubernetes' version skew policy). */
function skipsMinors(from: Release, to: Release): Problem {
  return {
    what: `RKE2 ${to.text} is more than one minor version after ${from.text}`,
    where: `${to.where}; ${from.text} runs on ${from.where}`,
    todo: `go to a release of ${from.version.major}.${from.version.minor + 1} first`,
  };
}

function etcdProblems(from: Release, to: Release): Problem[] {
  const after = etcdOf(to.version);
  const where = `${to.where}; ${from.text} runs on ${from.where}`;
  if (after === undefined) {
    return [
      {
        what: `which etcd RKE2 ${to.text} has is not known`,
        where,
        todo: "choose a release that src/domain/versions/releases.ts lists: near this one some have etcd 3.5 and some 3.6",
      },
    ];
  }
  // An unknown etcd may be too old.
  const before = etcdOf(from.version) ?? BEFORE_THE_TABLE;
  if (compareEtcd(before, STEPPING_STONE) < 0 && compareEtcd(after, ETCD_3_6) >= 0) {
    return [
      {
        what: `RKE2 ${from.text} ${before.exact ? `has ${named(before)}` : "may have an etcd before 3.5.26"}, and only 3.5.26 leads safely to the 3.6 of ${to.text}`,
        where,
        todo: wayTo36(from.version),
      },
    ];
  }
  if (after.exact && compareEtcd(after, before) < 0) {
    return [
      {
        what: `RKE2 ${to.text} has an older etcd than ${from.text}: ${named(after)} after ${named(before)}`,
        where,
        todo: `choose a later release of ${to.version.major}.${to.version.minor}: etcd may refuse to go back even by a patch`,
      },
    ];
  }
  return [];
}

function named({ minor, patch, exact }: Etcd): string {
  return `etcd 3.${minor}.${patch}${exact ? "" : " or newer"}`;
}

/**
 * The newest release from which etcd 3.6 is safe, in the first minor version that has such a release newer than the
 * running release.
 */
function wayTo36(from: Rke2Version): string {
  const ahead = RELEASES.filter(
    ({ etcd, version }) => compareEtcd(etcd, STEPPING_STONE) === 0 && compareVersions(version, from) > 0,
  );
  const stone = ahead.findLast(({ version }) => version.minor === ahead[0]?.version.minor);
  return stone === undefined
    ? "see which etcd it has; no release ahead of it has 3.5.26, so from an older one a snapshot has to be restored"
    : `go to ${stone.text} first, with all servers`;
}

/** Problems of agents that run beside the new servers: they must not be newer, and not too old. */
function agentProblems(to: Release, live: readonly LiveVersion[]): Problem[] {
  const agents = live.filter((node) => node.role === "agent");
  return [...Map.groupBy(agents, (node) => node.kubelet)].flatMap(([version, nodes]): Problem[] => {
    const why = whyAgentMayNotJoin(version, [to.text]);
    if (why === undefined) return [];
    return [
      {
        what: `servers with RKE2 ${to.text} do not fit the agents: ${why}`,
        where: `${to.where}; agents ${namesOf(nodes)}`,
        todo: "roll these agents first when they are too old; choose a newer image for the servers when they are newer",
      },
    ];
  });
}

function namesOf(nodes: readonly LiveVersion[]): string {
  return nodes.map((node) => node.name).join(", ");
}
