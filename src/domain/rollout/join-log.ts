/**
 * The message of Go's x509, passed on by RKE2, when a certificate is not valid at the current time of the machine that
 * reports it.
 */
const words = /certificate has expired or is not yet valid: current time (\S+) is (?:before|after) \S+?(?=["\s]|$)/g;

/** Clock difference in seconds that counts as correct: beyond that the clock is at fault, within it the certificate. */
const tolerance = 300;

/**
 * The clock error of a machine that refuses a certificate because of its validity period (harvester/harvester#2860,
 * rancher/rke2#1898), from its last such message.
 * @param log the end of the machine's log
 * @param now the cluster's time
 * @returns seconds, negative when the clock is behind; undefined when the log has no such message or the clock is right
 */
export function clockErrorIn(log: string, now: Date): number | undefined {
  const said = [...log.matchAll(words)].at(-1)?.[1];
  const seconds = (Date.parse(said ?? "") - now.getTime()) / 1000;
  return Math.abs(seconds) > tolerance ? seconds : undefined;
}

/**
 * Whether a server's log says that etcd no longer accepts it. RKE2 removes a learner that has made no progress for five
 * minutes, and its data can never rejoin (rancher/rke2#1874). This is permanent, so an older line of the log counts
 * too.
 */
export function isRemovedFromEtcd(log: string): boolean {
  return log.includes("member has been permanently removed");
}

/** Whether etcd has a member of the server's name, which is another machine: RKE2 refuses a taken name (k3s-io/k3s#4025). */
export function isNameTaken(log: string): boolean {
  return log.includes("duplicate node name found");
}

/**
 * What RKE2 lacks from outside of its machine, from the last such message of the log. Its own image: the registry may be
 * away, or refuse more pulls for a while (rancher/rke2#3244, #4666). An address of a family that the cluster has: no
 * router advertises the network, or no DHCP server answers (k3s, pkg/agent/run.go). Any address: the DHCP server has none
 * left, or does not answer (ChooseHostInterface of k8s.io/apimachinery, pkg/util/net).
 */
export function whatIsMissing(log: string): string | undefined {
  const words =
    /failed to get runtime image [^"\n]+|cluster-cidr: \[[^\]\n]*\] and node-ip: \[[^\]\n]*\], must share the same IP version|no default routes found|unable to select an IP from default routes/g;
  return [...log.matchAll(words)].at(-1)?.[0].trim() ?? whatIsFetched(log);
}

/** RKE2's own image, while it is being fetched: RKE2 says nothing more until it has begun to unpack it. */
function whatIsFetched(log: string): string | undefined {
  const isUnpacking = (line: string) => /msg="(Creating directory|Extracting) /.test(line);
  const last =
    log
      .trimEnd()
      .split("\n")
      .findLast((line) => !isUnpacking(line)) ?? "";
  const image = /Pulling runtime image ([^"\n]+)/.exec(last)?.[1];
  return image === undefined ? undefined : `RKE2 is still fetching its image ${image}`;
}
