import type { Chance } from "./chance.ts";
import type { Vm } from "./data-centre.ts";
import type { Scenario } from "./scenario.ts";
import type { Answer, Call } from "./wire.ts";
import type { World } from "./world.ts";

/** How long the site is off before somebody runs an update, and how long its machines boot, in milliseconds. */
const [offMs, bootMs] = [60_000, 90_000];

/**
 * In one of thirty stories people shut the whole site down before an act. The clusters of all are known to this version:
 * the first run has given their servers the tag of a member.
 */
export function withSiteOff(chance: Chance, scenario: Scenario): Scenario {
  if (!scenario.planted || !chance.happens(1 / 30)) return scenario;
  return { ...scenario, siteOff: chance.between(0, scenario.acts.length - 1) };
}

/**
 * People shut all machines down, and switch start at boot off.
 * @returns a function with which they start again what ran before
 */
export async function shutSiteDown(world: World): Promise<() => Promise<void>> {
  const { dc, watcher, etcdWatcher, story, time } = world;
  const ran: Vm[] = [];
  story.tell("operator", () => "shuts the site down");
  world.coverage.event("a site that is shut down");
  etcdWatcher.isOff = true;
  for (const vm of dc.vms.values()) {
    if (vm.owner !== "ours") continue;
    vm.onBoot = false;
    vm.revision += 1;
    if (!vm.running) continue;
    ran.push(vm);
    watcher.struck(vm.name);
    dc.powerCut(vm);
  }
  await time.sleep(offMs);
  return async () => {
    story.tell("operator", () => "starts the site");
    for (const vm of ran) dc.powerOn(vm);
    await time.sleep(bootMs);
    etcdWatcher.isOff = false;
  };
}

/** A driver that sees nothing that tells of a cluster, neither in the list of VMs nor in their configuration, on or off. */
export function withoutSigns({ honest }: World): (call: Call) => Answer {
  const without = (row: Record<string, unknown>): Record<string, unknown> => {
    const tags = String(row.tags).split(";");
    return { ...row, tags: tags.filter((tag) => tag !== "eg-member" && !tag.startsWith("eg-uid-")).join(";") };
  };
  return (call) => {
    const answer = honest(call);
    if (call.api !== "pve" || call.method !== "GET" || answer.status !== 200) return answer;
    const { data } = JSON.parse(answer.body ?? "") as { data: unknown };
    if (call.path.endsWith("/cluster/resources"))
      return { ...answer, body: JSON.stringify({ data: (data as Record<string, unknown>[]).map(without) }) };
    if (!call.path.endsWith("/config")) return answer;
    const blind = { ...without(data as Record<string, unknown>), onboot: 0, description: "" };
    return { ...answer, body: JSON.stringify({ data: blind }) };
  };
}

/**
 * A server that makes a cluster makes another one: it has no object of the first. The model knows one cluster alone, so
 * the former is out of sight from then on.
 * @param onFounded what else happens then
 * @returns the servers that have made one
 */
export function forks({ cluster: { objects, control } }: World, onFounded?: () => void): string[] {
  const founders: string[] = [];
  // The model takes the member out whose Node goes: these Nodes are the former cluster's, and no members of this one.
  const removeMember = control.removeMember.bind(control);
  control.removeMember = (node) => (founders.includes(node) ? undefined : removeMember(node));
  control.watcher.founds = (node) => {
    founders.push(node);
    onFounded?.();
    control.etcd.members = [];
    for (const collection of ["nodes", "configmaps", "leases", "pods"])
      for (const { metadata } of objects.list(collection)) {
        const { name, namespace } = metadata;
        objects.remove(collection, namespace === undefined ? name : `${namespace}/${name}`);
      }
    objects.remove("namespaces", "kube-system");
    objects.put("namespaces", { metadata: { name: "kube-system" } });
  };
  return founders;
}
