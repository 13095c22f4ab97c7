import { show } from "../src/runtime/log.ts";
import { leaseNames } from "../src/domain/model/formats.ts";
import type { Command } from "commander";
import { asUserError } from "../src/runtime/errors.ts";
import { planPools } from "../src/program/cluster-plan.ts";
import { runWords } from "../src/program/plan-images.ts";
import { observedPool, type ObservedCluster } from "../src/observe/observed-cluster.ts";
import { forecastDrains } from "../src/program/drains.ts";
import { planLocalData } from "../src/program/local-data.ts";
import { chooseVmHosts } from "../src/program/place-nodes.ts";
import { readCandidateHosts } from "../src/observe/hosts.ts";
import { paths, type Lease } from "../src/clients/kubernetes/types.ts";
import { slotStates, type Member } from "../src/domain/rollout/slot-state.ts";
import { readWithRegistries } from "../src/config/stack-config.ts";
import type { OpenStack } from "../src/observe/open-stack.ts";
import { outdatedRegistries, withRegistries } from "../src/observe/registries.ts";
import { withStack } from "./open-stack.ts";
import { table } from "./table.ts";

const header = ["slot", "name", "generation", "VMID", "host", "VM", "Node", "phase", "waits for"];

/** `evergreen status`: shows the node of every slot, what it waits for, and what an update would do now. */
export function statusCommand(program: Command): void {
  program
    .command("status")
    .description("show per pool and slot: generation, phase, what it waits for; and the plan of the next update")
    .option("-s, --stack <name>", "stack to look at", "dev")
    .action(async ({ stack }: { stack: string }) => {
      await withStack(stack, async (site, environment) => {
        const { config } = site;
        const { observed, words: outdated } = await observeRegistriesOf(stack, environment, site);
        const leases = await readHeldLeases(observed);
        const pools = new Set([...observed.vms, ...observed.nodes].map((one) => one.pool));
        for (const pool of pools) show(`${poolStatus(observed, pool, leases)}\n`);
        if (pools.size === 0) show(`${config.cluster} has no nodes yet\n`);
        const words = await describeNextUpdate(async () => {
          const planned = planPools(config, observed);
          const places = chooseVmHosts(config, observed, planned, await readCandidateHosts(site.pve, config));
          const withData = await planLocalData(config, observed, planned, places);
          return runWords(observed, await forecastDrains(config, observed, withData));
        });
        if (outdated.length > 0) show(`registries:\n${outdated.join("\n")}\n`);
        show(`the next update:\n${words}`);
      });
    });
}

/**
 * Looks at which nodes run with other registries than the configured ones. They are secret mostly: without what decrypts
 * them the rest of the status is shown.
 */
async function observeRegistriesOf(
  stack: string,
  environment: NodeJS.ProcessEnv,
  { pve, observed }: OpenStack,
): Promise<{ observed: ObservedCluster; words: string[] }> {
  try {
    const seen = await withRegistries(pve, await readWithRegistries(stack, { environment }), observed);
    return { observed: seen, words: outdatedRegistries(seen.registries, stack) };
  } catch (error) {
    const refused = asUserError(error);
    if (refused === undefined) throw error;
    return { observed, words: [`not compared with those of the nodes: ${refused.message}`] };
  }
}

/** The nodes of every slot of a pool and what they wait for. @param leases holder of each lease, by the lease's name */
export function poolStatus(observed: ObservedCluster, pool: string, leases: ReadonlyMap<string, string>): string {
  const record = observed.records.get(pool);
  const states = [...slotStates(observedPool(observed, pool), record).values()].toSorted((a, b) => a.slot - b.slot);
  const rows = states.flatMap((state) =>
    state.members.map((member) => [
      String(state.slot),
      member.name,
      member.generation,
      String(member.vm?.vmid ?? member.record?.vmid ?? ""),
      member.vm?.host ?? "",
      powerOf(member),
      member.node ? (member.node.ready ? "Ready" : "NotReady") : "no Node",
      member.record?.phase ?? "not joined",
      waitsFor(member, leases.get(leaseNames.slot(pool, state.slot))),
    ]),
  );
  const generations = (record?.generations ?? []).map(
    ({ id, state, since, spec, why }) =>
      `  ${id}  ${state} since ${since}  ${spec.image}, ${spec.rke2}${why === undefined ? "" : `: ${why}`}`,
  );
  const title = `pool ${pool}${generations.length > 0 ? "" : ", nothing remembered yet"}`;
  return [title, ...generations, table(header, rows)].join("\n");
}

function powerOf({ vm }: Member): string {
  if (vm === undefined) return "gone";
  if (vm.unreachable !== undefined) return "unknown";
  return vm.state ?? (vm.running ? "running" : "off");
}

function waitsFor(member: Member, holder: string | undefined): string {
  if (holder !== undefined) return `the step of ${holder}`;
  if (member.vm?.unreachable !== undefined) return `its Proxmox host ${member.vm.host} to answer`;
  if (member.record?.phase === "retired") {
    if (member.record.displaced) return "what has left it to run elsewhere";
    return member.record.keeps ? "the end of the time that its data is kept" : "the engine to delete its VM";
  }
  if (!member.node) return member.vm?.running ? "its join" : "a start and its join";
  if (!member.node.ready && member.vm?.state !== undefined) return `its VM, which is ${member.vm.state}, to run`;
  if (!member.node.ready) return "its kubelet to be Ready";
  if (!member.node.schedulable) return "somebody to uncordon it";
  return "-";
}

/**
 * The apparent holder of each lease, by the lease's name. A single read must rely on the time in the lease. Decisions
 * about a lease are made by watching it (src/clients/kubernetes/lease-observer.ts).
 */
export async function readHeldLeases(observed: ObservedCluster): Promise<Map<string, string>> {
  const { kubernetes } = observed;
  if (!kubernetes) return new Map();
  const { items } = await kubernetes.list<Lease>(paths.leases);
  const held = items.filter(({ spec: { renewTime = "", leaseDurationSeconds = 0 } = {} }) => {
    return Date.parse(renewTime) + leaseDurationSeconds * 1000 > kubernetes.now().getTime();
  });
  return new Map(held.map(({ metadata, spec }) => [metadata?.name ?? "", spec?.holderIdentity ?? "nobody"]));
}

/** The plan of the next update. A refusal of that update is part of the status, and not an error. */
export async function describeNextUpdate(words: () => Promise<string[]>): Promise<string> {
  try {
    return (await words()).join("\n");
  } catch (error) {
    const refused = asUserError(error);
    if (refused === undefined) throw error;
    return `would be refused:\n${refused.message}`;
  }
}
