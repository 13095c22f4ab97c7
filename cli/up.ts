import { constants } from "node:os";
import type { Command } from "commander";
import { Deadline, DeadlineError } from "../src/runtime/deadline.ts";
import { asUserError, messageOf, UserError } from "../src/runtime/errors.ts";
import { say, show } from "../src/runtime/log.ts";
import { readWithRegistries } from "../src/config/stack-config.ts";
import { poolPlans, planPools } from "../src/program/cluster-plan.ts";
import { readMembers } from "../src/clients/kubernetes/etcd-members.ts";
import { readServerToken } from "../src/clients/kubernetes/server-token.ts";
import { readServersAndMembers } from "../src/clients/kubernetes/servers.ts";
import { findCluster } from "../src/observe/observed-cluster.ts";
import { withRegistries } from "../src/observe/registries.ts";
import { listVms } from "../src/clients/proxmox/vms.ts";
import { hasTurned, outcomeOf, type Ending, type Outcome } from "../src/domain/rollout/outcome.ts";
import { controlPlaneUnhealthyReason } from "../src/domain/availability/quorum.ts";
import type { PoolPlan } from "../src/domain/model/types.ts";
import { toolchain } from "../tools/index.ts";
import { noteStarted } from "../src/recovery/engine-side.ts";
import { runChild, type ExitResult } from "./run-child.ts";
import { repair } from "./repair.ts";
import type { OpenStack } from "../src/observe/open-stack.ts";
import { withStack } from "./open-stack.ts";

/** Exit code by outcome. The exit codes of `pulumi` itself are below 10. */
export const exitCodes: Readonly<Record<Outcome, number>> = {
  done: 0,
  failed: 1,
  paused: 10,
  held: 11,
  rolledBack: 12,
};

const help = `
It never asks, and ends with:
  ${exitCodes.done}   done         all is as the configuration asks
  ${exitCodes.failed}   failed       none of the others; what was finished stays, and the next run goes on from there
  ${exitCodes.paused}  paused       a canary or a soak still runs; the first run after it goes on
  ${exitCodes.held}  held         the wanted generation was judged failed, and nothing more of it comes
  ${exitCodes.rolledBack}  rolled back  likewise, and this run brought every slot back to the proved generation
SIGINT and SIGTERM end the update, also in the middle of a step: the next run gives back what that had in hand, and goes on.
The exit code is then 130 or 143.`;

/** How long a node or a server may take after an update until it is healthy, in seconds. */
const settleSeconds = 30;

/** `evergreen up`: an unattended update, for schedules and CI. */
export function upCommand(program: Command): void {
  program
    .command("up")
    .description(
      "repair, pulumi up, a second one if the first made the plan turn back; the exit code says how it ended",
    )
    .requiredOption("-s, --stack <name>", "stack to update")
    .addHelpText("after", help)
    .action(async ({ stack }: { stack: string }) => {
      const { code, open, line } = await carryThrough(handsOn(stack)).catch(explained);
      for (const one of open) say(one);
      show(line);
      process.exitCode = code;
    });
}

/** The actions that a run consists of. */
export interface UpActions {
  repair: () => Promise<unknown>;
  /** Reads the present status from both APIs. @throws UserErrors when an update would be refused */
  readClusterStatus: () => Promise<ClusterStatus>;
  /** Runs `pulumi up` once. */
  update: () => Promise<ExitResult>;
  /** Prints a line for the operator. */
  tell: (line: string) => void;
}

export interface ClusterStatus {
  /** The plans of the next update. */
  plans: readonly PoolPlan[];
  /** Why the control plane is unhealthy; undefined: it is healthy. */
  servers: string | undefined;
}

/** How a run ended. */
export interface Result {
  /** Exit code. */
  code: number;
  /** Problems that are left, each as a complete text. */
  open: readonly string[];
  /** The outcome in words, and what the next run does. */
  line: string;
}

/**
 * Repairs, updates, updates once more when the first update made the plan turn back, and checks whether the cluster is
 * as planned.
 * @param patience longest wait for the cluster to settle after the last update, in seconds
 */
export async function carryThrough(hands: UpActions, patience = settleSeconds): Promise<Result> {
  await hands.repair();
  const before = await hands.readClusterStatus();
  const first = await hands.update();
  if (first.told) return stopped(first.told);
  if (first.code !== 0) {
    const { plans, ending } = await readEnding(hands, before);
    if (!hasTurned(before.plans, plans)) return failed("the update failed", ending.open);
    hands.tell("the update failed, and the plan has turned back: it is carried out at once");
    const second = await hands.update();
    if (second.told) return stopped(second.told);
    if (second.code !== 0) return failed("the second update failed too", (await readEnding(hands, before)).ending.open);
  }
  return inWords(await awaitSettled(hands, before, patience));
}

/** The ending of the run, after the cluster had time to settle. */
async function awaitSettled(hands: UpActions, before: ClusterStatus, patience: number): Promise<Ending> {
  let last: Ending | undefined;
  const good = new Deadline("the cluster to be as planned", patience).poll(1000, async () => {
    last = (await readEnding(hands, before)).ending;
    return last.outcome === "failed" ? undefined : last;
  });
  return await good.catch((error: unknown) => {
    if (error instanceof DeadlineError && last) return last;
    throw error;
  });
}

interface Seen extends Pick<ClusterStatus, "plans"> {
  ending: Ending;
}

/** Reads the status after an update. A status that cannot be read counts as a failure. */
async function readEnding(hands: UpActions, before: ClusterStatus): Promise<Seen> {
  return await hands.readClusterStatus().then(
    (after) => ({ plans: after.plans, ending: endingOf(before, after) }),
    (error: unknown) => ({ plans: [], ending: { outcome: "failed", open: [messageOf(error)], words: [unhealthy] } }),
  );
}

function endingOf(before: ClusterStatus, { plans, servers }: ClusterStatus): Ending {
  const ending = outcomeOf(before.plans, plans);
  if (servers === undefined) return ending;
  return { outcome: "failed", open: [...ending.open, unhealthyControlPlane(servers).message], words: [unhealthy] };
}

const unhealthy = "the update ended, but the cluster is not as it should be";

function unhealthyControlPlane(why: string): UserError {
  return new UserError({
    what: `the update ended, and the control plane is not healthy: ${why}`,
    where: "the servers, each asked at its own address, port 6443",
    todo: "bring the servers that are named back to health; until then no run disturbs anything",
  });
}

const titles: Readonly<Record<Outcome, string>> = {
  done: "done",
  failed: "failed",
  paused: "paused",
  held: "held",
  rolledBack: "rolled back",
};

function inWords({ outcome, words, open }: Ending): Result {
  const clauses = words.length > 0 ? words : ["all is as the configuration asks"];
  return { code: exitCodes[outcome], open, line: `${titles[outcome]}: ${clauses.join("; ")}` };
}

function failed(why: string, open: readonly string[] = []): Result {
  const line = `${titles.failed}: ${why}; what was finished stays, and the next run goes on from there`;
  return { code: exitCodes.failed, open, line };
}

function stopped(signal: NodeJS.Signals): Result {
  const line = `stopped by ${signal}: what was finished stays, and the next run goes on from there`;
  return { code: 128 + constants.signals[signal], open: [], line };
}

/** The result of an error that the user can correct; any other error is thrown. */
function explained(error: unknown): Result {
  const ours = asUserError(error);
  if (ours === undefined) throw error;
  return failed("see above", [ours.message]);
}

function handsOn(stack: string): UpActions {
  return {
    repair: () => repair(stack, "by an update"),
    readClusterStatus: () =>
      withStack(stack, async (site, environment) =>
        readClusterStatus({ ...site, config: await readWithRegistries(stack, { environment }) }),
      ),
    tell: show,
    update: async () => {
      const tools = await toolchain({ quiet: true, parts: ["engine"], stack });
      const args = ["up", "--yes", "--skip-preview", "--non-interactive", "--stack", stack];
      const how = { started: noteStarted };
      return await runChild(tools.pulumi, [...args, "--message", "evergreen up"], tools.environment({}, stack), how);
    },
  };
}

/**
 * Reads the plans and the health of the control plane from both APIs.
 * @param site its configuration has the registries, as that of an update
 * @throws UserErrors when an update would be refused
 */
export async function readClusterStatus(site: OpenStack): Promise<ClusterStatus> {
  const { pve, config } = site;
  const plans = poolPlans(planPools(config, await withRegistries(pve, config, site.observed)));
  // A control plane that cannot be reached counts as unhealthy.
  return { plans, servers: await explainUnhealthy(site).catch(messageOf) };
}

/** Why the control plane is unhealthy, by Nodes and etcd's member list: a member of a killed join has no Node. */
async function explainUnhealthy({ pve, config }: OpenStack): Promise<string | undefined> {
  const access = await findCluster(pve, config, await listVms(pve));
  if (!access) return "no server runs that has started RKE2";
  try {
    const signal = new Deadline("the servers to answer", settleSeconds).signal();
    const token = await readServerToken(pve, access.server);
    const members = await readMembers(access, config.site.registrationAddress, token, signal);
    return controlPlaneUnhealthyReason(await readServersAndMembers(access, members, signal));
  } finally {
    await access.client.close();
  }
}
