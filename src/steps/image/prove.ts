/** Proves a template: clones it, boots the clone twice, asks it, and writes and signs the record of the image. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { readBakeVm } from "../../clients/proxmox/bake-vm.ts";
import type { ProvedVm } from "../../clients/proxmox/power.ts";
import { listVms, readConfig, vmConfigOf, vmPath } from "../../clients/proxmox/vms.ts";
import { imageOf, notedBake, type BakeOrder } from "../../domain/images/bake.ts";
import { isPublished } from "../../domain/images/bake-step.ts";
import { contentsDigest } from "../../domain/images/contents.ts";
import { contentsOf } from "../../domain/images/measurement.ts";
import { failureLines, outcomeOf, type BootFindings, type TestEnd } from "../../domain/images/proof.ts";
import { identityOf, notedRecord, recordNote } from "../../domain/images/template-identity.ts";
import { ownKeyOf, type SigningKey } from "../../evidence/bundle.ts";
import { writeBakeLog } from "../../evidence/bake-log.ts";
import { makeRecord } from "../../evidence/make-record.ts";
import { readRecord, writeRecord } from "../../evidence/image-records.ts";
import { readBakeShell, shellDigests } from "../../runtime/bake-shell.ts";
import { clock } from "../../runtime/clock.ts";
import { DeadlineError } from "../../runtime/deadline.ts";
import { messageOf, UserError } from "../../runtime/errors.ts";
import { say } from "../../runtime/log.ts";
import { askBoot, readRecordedLists, runTest } from "./proof-guest.ts";
import { makeClone, startCloneAgain, removeClone, type Proving } from "./proof-vm.ts";

/** What a proof found. */
interface Answers {
  boots: readonly BootFindings[];
  tests: readonly TestEnd[];
  lists: Awaited<ReturnType<typeof readRecordedLists>>;
}

/**
 * Proves the template of a bake, unless it has a record of ours that says so already. Its clone is gone at the end,
 * however it ends; one that a killed run left is removed by the next.
 * @param key that signs the record; undefined: it bears no signature
 * @returns digest and Proxmox host of the template, and the digest of its record
 * @throws UserError when the clone is not what the definition says, with the path of the log
 */
export async function proveTemplate(
  proving: Proving,
  key: SigningKey | undefined,
): Promise<{ digest: string; host: string; record: string }> {
  const { bake } = proving.order;
  await removeClone(proving);
  const { digest, host } = await readTemplate(proving);
  const known = await findRecord(proving, key);
  if (known !== undefined) return { digest, host, record: known };
  requireOwnScripts(bake, digest);
  say(`${imageOf(bake)}: a clone of VM ${bake.vmid} is booted twice, and asked`);
  const answers = await askClone(proving);
  const record = await recordAnswers(proving, key, answers);
  const failures = failureLines(answers.boots, answers.tests);
  if (failures.length > 0) throw await closeProof(proving, failures);
  return { digest, host, record };
}

/** The record that the template names, if it is of this very template, signed as wanted, and its tests passed. */
async function findRecord({ pve, order }: Proving, key: SigningKey | undefined): Promise<string | undefined> {
  const { records } = order;
  const template = await readTemplate({ pve, order });
  const digest = notedRecord(template.notes);
  if (digest === undefined) return undefined;
  const keys = key === undefined ? [] : [ownKeyOf(key)];
  const found = await readRecord(records, digest, keys);
  const wanted = key === undefined ? "unsigned" : "signed";
  if (found?.tests.kind !== wanted || found.provenance.kind !== wanted || found.sbom.kind !== wanted) return undefined;
  const { subject, isPassed } = found.tests.statement;
  const isOfIt = subject.templates.some(
    ({ config, uuid }) => config === template.identity.config && uuid === template.identity.uuid,
  );
  return isPassed && subject.definition === template.digest && isOfIt ? digest : undefined;
}

async function readTemplate({ pve, order }: Pick<Proving, "pve" | "order">) {
  const { bake } = order;
  const at = (await listVms(pve)).find(({ vmid }) => vmid === bake.vmid);
  if (at === undefined) throw noTemplate(bake);
  const row = await readConfig(pve, at);
  const options = row.texts();
  const identity = identityOf(options);
  const vm = await readBakeVm(pve, at);
  if (identity?.uuid !== order.uuid || !isPublished(bake, vm)) throw noTemplate(bake);
  return {
    notes: options.get("description") ?? "",
    identity,
    host: at.host,
    /** Digest of the image. */
    digest: notedBake(vm.notes)?.digest ?? "",
    /** Fingerprint of the configuration. */
    config: vmConfigOf(row, at).digest,
    madeOn: madeOn(options.get("meta")),
  };
}

/** Who did not bake a template cannot say how it was made. */
function requireOwnScripts(bake: BakeOrder, digest: string): void {
  if (digest === bake.digest) return;
  throw new UserError({
    what: `${imageOf(bake)} was baked by another version of Evergreen, and has no record that it can be trusted by`,
    where: `VM ${bake.vmid} on ${bake.place.host}: sha256:${digest}, and this version would bake sha256:${bake.digest}`,
    todo: "give the definition another version, and bake that",
  });
}

function noTemplate(bake: BakeOrder): UserError {
  return new UserError({
    what: `VM ${bake.vmid} is not the template of ${imageOf(bake)}`,
    where: `VM ${bake.vmid} on ${bake.place.host}`,
    todo: "run it again: the bake comes before the proof; somebody may have changed or removed the template meanwhile",
  });
}

/** When a VM was made, by its option `meta`: `creation-qemu=9.2.0,ctime=1785000000`. */
function madeOn(meta = ""): string | undefined {
  const seconds = /(?:^|,)ctime=(\d+)/.exec(meta)?.[1];
  return seconds === undefined ? undefined : new Date(Number(seconds) * 1000).toISOString();
}

async function askClone(proving: Proving): Promise<Answers> {
  let vm: ProvedVm | undefined;
  try {
    vm = await makeClone(proving);
    const first = await askBoot(proving, vm, 1);
    const lists = await readRecordedLists(proving, vm);
    await startCloneAgain(proving, vm);
    const second = await askBoot(proving, vm, 2);
    const tests: TestEnd[] = [];
    for (const { path } of proving.order.bake.definition.tests) {
      const bytes = readFileSync(join(proving.order.bake.folder, "tests", path));
      tests.push(await runTest(proving, vm, path, bytes));
    }
    return { boots: [first, second], tests, lists };
  } catch (error) {
    if (error instanceof DeadlineError) throw await closeProof(proving, [error.message]);
    throw error;
  } finally {
    await removeClone(proving).catch((error: unknown) => {
      say(`the clone of the proof is left, and the next run removes it: ${messageOf(error)}`);
    });
  }
}

/** Writes the record, also of an image that is unfit: so that the template says why it must not be used. */
async function recordAnswers(proving: Proving, key: SigningKey | undefined, answers: Answers): Promise<string> {
  const { pve, order } = proving;
  const { bake } = order;
  const template = await readTemplate(proving);
  const contents = contentsOf(answers.lists);
  const { name, version } = bake.definition;
  const at = new Date(clock.date()).toISOString();
  const texts = await makeRecord(
    {
      subject: {
        name,
        version,
        definition: bake.digest,
        contents: contentsDigest(contents),
        templates: [template.identity],
      },
      definition: bake.definition,
      contents,
      shell: shellDigests(readBakeShell(bake.shell)),
      builder: order.builder,
      startedOn: template.madeOn ?? at,
      at,
      ...outcomeOf(answers.boots, answers.tests),
    },
    key,
  );
  const digest = await writeRecord(order.records, texts);
  const notes = template.notes.split("\n").filter((line) => line !== "" && notedRecord(line) === undefined);
  const description = [...notes, recordNote(digest)].join("\n");
  await pve.put(`${vmPath({ host: bake.place.host, vmid: bake.vmid })}/config`, {
    description,
    digest: template.config,
  });
  return digest;
}

async function closeProof({ order }: Proving, failures: readonly string[]): Promise<UserError> {
  const { bake } = order;
  const image = imageOf(bake);
  const log = {
    ...{ image, digest: bake.digest, at: new Date(clock.date()), why: "a clone of it is not what the definition says" },
    parts: [{ title: "what a clone was found to be", text: failures.join("\n") }],
  };
  const where = await writeBakeLog(bake.evidence, log).catch((error: unknown) => messageOf(error));
  return new UserError({
    what: `${image} is unfit: ${failures.length} of its checks and tests failed: ${failures[0] ?? ""}`,
    where,
    todo: "correct the definition and give it another version; a template that is unfit is used by no rollout that asks for records",
  });
}
