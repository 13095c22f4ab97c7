/** What Go's x509 says, and RKE2 passes on, when a certificate does not fit the time: by the clock of the machine that says it. */
const words = /certificate has expired or is not yet valid: current time (\S+) is (?:before|after) \S+?(?=["\s]|$)/g;

/** A clock that is this close is right: certificates that do not fit are themselves at fault then. */
const tolerance = 300;

/**
 * How far the clock of a machine is off that refuses a certificate for the time in it (harvester/harvester#2860,
 * rancher/rke2#1898): by what it said last.
 * @param log the end of the machine's log
 * @param now the cluster's time
 * @returns seconds, negative: it is behind; undefined: it says nothing of the kind, or its clock is right
 */
export function clockErrorIn(log: string, now: Date): number | undefined {
  const said = [...log.matchAll(words)].at(-1)?.[1];
  const seconds = (Date.parse(said ?? "") - now.getTime()) / 1000;
  return Math.abs(seconds) > tolerance ? seconds : undefined;
}

/**
 * Whether a server says that etcd takes it back no more: RKE2 removes a learner that has made no progress for five minutes, and
 * what is on its disk never gets in again (rancher/rke2#1874). True for good, so an older line of the log says it as well.
 */
export function isRemovedFromEtcd(log: string): boolean {
  return log.includes("member has been permanently removed");
}
