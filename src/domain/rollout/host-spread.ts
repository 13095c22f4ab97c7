/**
 * A line for each host whose fall would take etcd's majority although a host without a server could have one of them:
 * VMs are migrated, and while a host does not answer new servers go to the others. Nothing is moved for that reason.
 * @param servers name and host of each server after the run
 * @param hosts that answer, of the servers
 */
export function crowdedHosts(servers: readonly { name: string; host: string }[], hosts: readonly string[]): string[] {
  const mayFall = Math.floor((servers.length - 1) / 2);
  const byHost = Map.groupBy(servers, ({ host }) => host);
  const free = hosts.filter((host) => !byHost.has(host));
  if (free.length === 0) return [];
  return [...byHost]
    .filter(([, here]) => here.length > Math.max(1, mayFall))
    .map(([host, here]) => {
      const names = here.map(({ name }) => name).join(", ");
      return `${here.length} of ${servers.length} servers are on ${host} (${names}), and ${free.join(", ")} has none: without ${host} etcd has no majority. Migrate one of their VMs`;
    });
}
