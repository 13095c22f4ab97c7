/** What the clone of a template is asked, over the guest agent. */
import { awaitAgent, isNoSuchFile, readFile } from "../../clients/proxmox/agent.ts";
import type { ProvedVm } from "../../clients/proxmox/power.ts";
import { runProgram, type ProgramEnd } from "../../clients/proxmox/programs.ts";
import { checksOf } from "../../domain/images/hygiene-checks.ts";
import { at, findingsOf, scriptOf } from "../../domain/images/hygiene.ts";
import { MEASURE, RECORD_DIRECTORY, type MeasuredLists } from "../../domain/images/measurement.ts";
import {
  AWAIT_BOOT,
  MEASURED,
  measureFindings,
  PROOF_SECONDS,
  RUN_TEST,
  type BootFindings,
  type TestEnd,
} from "../../domain/images/proof.ts";
import { Deadline } from "../../runtime/deadline.ts";
import type { Proving } from "./proof-vm.ts";

/** Directory for the second measurement: in memory, so that it is no part of what is measured. */
const AGAIN = "/run/evergreen-measured";

/**
 * Asks the clone all that is asked at a boot.
 * @throws DeadlineError when it does not boot, or does not answer
 */
export async function askBoot(proving: Proving, vm: ProvedVm, boot: number): Promise<BootFindings> {
  const { definition } = proving.order.bake;
  await awaitBoot(proving, vm, boot);
  const checks = at("clone", checksOf(definition));
  const { output } = await run(proving, vm, ["/bin/sh", "-s"], "the checks", scriptOf(checks));
  const measured = await run(proving, vm, [MEASURE, AGAIN], "the measurement");
  const found =
    measured.code === 0
      ? measureFindings(await readLists(proving, vm, RECORD_DIRECTORY), await readLists(proving, vm, AGAIN))
      : [{ id: MEASURED, looksAt: "what the clone holds", expected: "", found: measured.errors || "no answer" }];
  const findings = [...findingsOf(checks, output, { uuid: vm.uuid }), ...found];
  return { boot, findings, checks: [...checks.map(({ id }) => id), MEASURED] };
}

async function awaitBoot(proving: Proving, vm: ProvedVm, boot: number): Promise<void> {
  const deadline = new Deadline(`boot ${boot} of ${vm.name}`, PROOF_SECONDS.boot, proving.stop);
  await awaitAgent(deadline, () => readText(proving, vm, "/etc/machine-id"));
  await runProgram(proving.pve, vm, { command: AWAIT_BOOT }, deadline);
}

/** Runs a test of the definition. */
export async function runTest(proving: Proving, vm: ProvedVm, test: string, bytes: Uint8Array): Promise<TestEnd> {
  const input = Buffer.from(bytes).toString("base64");
  const { code, output, errors } = await run(proving, vm, RUN_TEST, `tests/${test}`, input);
  return { test, code, output: `${output}${errors}` };
}

/** The lists that the bake has left in the image. */
export async function readRecordedLists(proving: Proving, vm: ProvedVm): Promise<MeasuredLists> {
  const images = await readText(proving, vm, `${RECORD_DIRECTORY}/images`);
  return { ...(await readLists(proving, vm, RECORD_DIRECTORY)), ...(images === undefined ? {} : { images }) };
}

async function readLists(
  proving: Proving,
  vm: ProvedVm,
  directory: string,
): Promise<{ packages: string; files: string }> {
  const list = async (name: string): Promise<string> => {
    const text = await readText(proving, vm, `${directory}/${name}`);
    if (text === undefined) throw new Error(`${vm.name} has no list ${directory}/${name}`);
    return text;
  };
  return { packages: await list("packages"), files: await list("files") };
}

/** @returns undefined when there is no such file */
async function readText({ pve }: Proving, vm: ProvedVm, file: string): Promise<string | undefined> {
  try {
    return (await readFile(pve, vm, file)).toString();
  } catch (error) {
    if (isNoSuchFile(error)) return undefined;
    throw error;
  }
}

function run(
  { pve, stop }: Proving,
  vm: ProvedVm,
  command: readonly string[],
  what: string,
  input?: string,
): Promise<ProgramEnd> {
  const deadline = new Deadline(`${what} in ${vm.name}`, PROOF_SECONDS.ask, stop);
  return runProgram(pve, vm, { command, ...(input === undefined ? {} : { input }) }, deadline);
}
