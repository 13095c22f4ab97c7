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

/** A driver that sees nothing in the configuration of a VM that tells of a cluster, on or off. */
export function withoutSigns({ honest }: World): (call: Call) => Answer {
  return (call) => {
    const answer = honest(call);
    const isRead = call.api === "pve" && call.method === "GET" && call.path.endsWith("/config");
    if (!isRead || answer.status !== 200) return answer;
    const { data } = JSON.parse(answer.body ?? "") as { data: Record<string, unknown> };
    const tags = String(data.tags)
      .split(";")
      .filter((tag) => tag !== "eg-member")
      .join(";");
    const blind = { ...data, onboot: 0, description: "", tags };
    return { ...answer, body: JSON.stringify({ data: blind }) };
  };
}
