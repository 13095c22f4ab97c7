import { execFile } from "node:child_process";
import { mkdtemp, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { promisify } from "node:util";
import type { Command } from "commander";
import { show } from "../src/runtime/log.ts";
import { Deadline } from "../src/runtime/deadline.ts";
import { UserError, messageOf } from "../src/runtime/errors.ts";
import type { PoolPlan } from "../src/domain/model/types.ts";
import { outcomeOf } from "../src/domain/rollout/outcome.ts";
import { withOpenStack, type OpenStack } from "../src/observe/open-stack.ts";
import { planPools, poolPlans } from "../src/program/cluster-plan.ts";
import { toolchain } from "../tools/index.ts";
import { exitCodes } from "./up.ts";
import { prepareEngine } from "./pre-update.ts";
import { keepEncryption } from "./encryption.ts";
import { keepImageFolders } from "./image-folders.ts";
import { EngineSide, noteStarted } from "../src/recovery/engine-side.ts";
import { lastGood, rollbackMessage, type Update } from "./history.ts";
import { runChild } from "./run-child.ts";

const run = promisify(execFile);

interface Options {
  stack: string;
  to?: string;
  yes?: boolean;
  preview?: boolean;
}

/** `evergreen rollback`: runs `pulumi up` of the last good commit in a temporary work tree. */
export function rollbackCommand(program: Command): void {
  program
    .command("rollback")
    .description("return the stack to what its last good update asked for")
    .requiredOption("-s, --stack <name>", "stack to roll back")
    .option("--to <commit>", "go to this commit instead of the last good update's")
    .option("-y, --yes", "do not ask")
    .option("--preview", "only show what would be done")
    .action(async (options: Options) => {
      process.exitCode = await rollback(options);
    });
}

/** @returns the exit code of the `pulumi` process that carried the rollback out, or that of a rollback that is held */
export async function rollback(options: Options): Promise<number> {
  const tools = await toolchain({ quiet: true, parts: ["engine"], stack: options.stack });
  const environment = tools.environment({}, options.stack);
  const wanted = options.to ?? (await findPrevious(options.stack, tools.pulumi, environment));
  // The user's name for a commit may begin with a dash like an option; the hash that Git resolves it to does not.
  const { stdout: commit } = await runGit("rev-parse", "--verify", "--end-of-options", `${wanted}^{commit}`);
  const { stdout: title } = await runGit("log", "-1", "--format=%h %s (%cr)", commit.trim());
  process.stderr.write(`going back to ${title}`);
  const tree = await mkdtemp(join(tmpdir(), "evergreen-rollback-"));
  try {
    const { stdout: top } = await runGit("rev-parse", "--show-toplevel");
    await runGit("worktree", "add", "--detach", tree, commit.trim());
    const project = join(tree, relative(top.trim(), process.cwd()));
    await symlink(join(process.cwd(), "node_modules"), join(project, "node_modules"));
    await keepEncryption(project, options.stack);
    await keepImageFolders(project, options.stack, process.cwd());
    if (!options.preview)
      await prepareEngine(options.stack, new EngineSide(options.stack, tools.pulumi, environment), environment);
    const code = await carryOut(project, options, tools.pulumi, environment);
    if (code !== 0 || options.preview) return code;
    const held = heldWords(await readPlans(options.stack, environment, project));
    if (held === undefined) return code;
    show(held);
    return exitCodes.held;
  } finally {
    await runGit("worktree", "remove", "--force", tree).catch(() => rm(tree, { recursive: true, force: true }));
  }
}

/** How long both APIs may contradict each other after an update, in seconds: the list of VMs is old for a while. */
const settleSeconds = 15;

/** The plans of the update that would come next. @throws why the cluster cannot be read */
async function readPlans(stack: string, environment: NodeJS.ProcessEnv, project: string): Promise<PoolPlan[]> {
  let last: unknown;
  const plansOf = ({ config, observed }: OpenStack) => Promise.resolve(poolPlans(planPools(config, observed)));
  const read = new Deadline("the cluster to be as planned", settleSeconds).poll(1000, () =>
    withOpenStack(stack, environment, plansOf, project).catch((error: unknown) => {
      last = error;
      return undefined;
    }),
  );
  return await read.catch((error: unknown) => {
    process.stderr.write("the update has succeeded, and what it has brought back cannot be seen:\n");
    throw last ?? error;
  });
}

/**
 * What a rollback did not bring back, if anything: the update to a content that was judged failed keeps what is there
 * and succeeds, now as then. So the history of the stack calls it good.
 * @param plans of the update that would come next
 */
export function heldWords(plans: readonly PoolPlan[]): string | undefined {
  const words = plans.filter(({ kind }) => kind === "held").flatMap((plan) => outcomeOf([], [plan]).words);
  if (words.length === 0) return undefined;
  return `held: ${words.join("; ")}. To go further back run evergreen rollback again, or name a commit with --to`;
}

async function findPrevious(stack: string, pulumi: string, environment: NodeJS.ProcessEnv): Promise<string> {
  const args = ["stack", "history", "--json", "--page-size", "200", "--page", "1", "--stack", stack];
  const { stdout } = await run(pulumi, args, { env: environment, maxBuffer: 1 << 28 });
  const { commit, endTime } = lastGood(JSON.parse(stdout) as Update[], stack);
  process.stderr.write(`last good update of ${stack}: ${endTime}\n`);
  return commit;
}

async function runGit(...args: string[]): Promise<{ stdout: string }> {
  return run("git", args).catch((error: unknown) => {
    throw new UserError(
      {
        what: `git ${args[0] ?? ""} failed: ${messageOf(error).split("\n").slice(1).join(" ").trim()}`,
        where: process.cwd(),
        todo: "run it from the checkout that the stack is updated from; a shallow clone needs `git fetch --unshallow`",
      },
      { cause: error },
    );
  });
}

async function carryOut(
  project: string,
  { stack, preview, yes }: Options,
  pulumi: string,
  environment: NodeJS.ProcessEnv,
): Promise<number> {
  const asks = !preview && !yes;
  const verb = preview ? ["preview"] : ["up", ...(asks ? [] : ["--yes", "--skip-preview"])];
  const args = [...verb, "--stack", stack, "--message", rollbackMessage];
  const { code } = await runChild(pulumi, args, environment, { cwd: project, asks, started: noteStarted });
  return code;
}
