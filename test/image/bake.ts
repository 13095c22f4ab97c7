/** Bakes in a real guest: what the guest of a bake does, as the bake of a site will do it over Proxmox's API. */
import { createHash } from "node:crypto";
import { cidata } from "../../src/domain/images/cidata.ts";
import type { ImageDefinition } from "../../src/domain/images/definition.ts";
import { checksOf } from "../../src/domain/images/hygiene-checks.ts";
import { at, findingsOf, scriptOf, type Finding, type Moment } from "../../src/domain/images/hygiene.ts";
import { commandOf, filesOf, progressOf, resultOf, type Kind } from "../../src/domain/images/stages.ts";
import { metaData, networkConfig, userData, type Bake } from "../../src/domain/images/user-data.ts";
import { readBakeShell } from "../../src/runtime/bake-shell.ts";
import { definitionFixture } from "../support/image-definition.ts";
import { DATES, PROBE, RKE2, type Archive } from "./archive.ts";
import { makeOverlay, type Base } from "./base.ts";
import { Machine } from "./machine.ts";

const text = (content: string): Uint8Array => new TextEncoder().encode(content);

/** The definition that is baked: something of everything that an image may have. */
export function testBake(archive: Archive): Bake {
  const files = [
    { path: "/etc/evergreen-test/greeting", bytes: text("hello\n"), mode: "0640" },
    // The base has no sudo: cloud-init would write this file on each clone.
    { path: "/etc/sudoers", bytes: text("@includedir /etc/sudoers.d\n"), mode: "0440" },
  ];
  const scripts = [
    {
      path: "10-tune",
      bytes: text("#!/bin/sh\ncat /etc/evergreen-test/greeting >/etc/evergreen-test/seen\n"),
      mode: "0755",
    },
  ];
  const named = (list: typeof files) =>
    list.map(({ path, bytes, mode }) => ({ path, mode, sha256: createHash("sha256").update(bytes).digest("hex") }));
  const definition: ImageDefinition = {
    ...definitionFixture,
    name: "debian-13-rke2",
    version: "v1.0.0",
    archiveDate: DATES.first,
    packages: [PROBE],
    hold: [PROBE],
    rke2: { version: RKE2, cni: ["none"], artefacts: archive.artefacts },
    kernel: { parameters: [], modules: ["br_netfilter", "overlay"] },
    sysctl: { "vm.max_map_count": "262144", "net.ipv4.ip_forward": "1" },
    hardening: "cis",
    ssh: true,
    services: { enable: [], mask: ["e2scrub_all.timer"] },
    files: named(files),
    scripts: named(scripts),
    tests: [],
  };
  const contents = new Map(
    [...files, ...scripts].map(({ bytes }, index) => [named([...files, ...scripts])[index]?.sha256 ?? "", bytes]),
  );
  const { snapshots, key, rke2 } = archive;
  return { definition, contents, shell: readBakeShell(), sources: { snapshots, snapshotKey: key, rke2 } };
}

/** Boots a guest from the base with the seed of a bake. @param clock hour of its clock; today's by default */
export function startBake(bake: Bake, base: Base, folder: string, clock?: string): Machine {
  const mac = "bc:24:11:00:00:01";
  const seed = cidata({
    "user-data": userData(bake),
    "meta-data": metaData("bake-1", "bake"),
    "network-config": networkConfig({ mac }),
  });
  return startMachine(folder, makeOverlay(base.disk, `${folder}.qcow2`), base, seed, { mac, ...(clock && { clock }) });
}

/** Boots a clone with a seed as Proxmox makes one. */
export function startClone(template: string, base: Base, folder: string, number: number): Machine {
  const mac = `bc:24:11:00:01:0${number}`;
  const seed = cidata({
    "user-data": `#cloud-config\nhostname: clone-${number}\nmanage_etc_hosts: true\n`,
    "meta-data": metaData(`clone-${number}`, `clone-${number}`),
    "network-config": networkConfig({ mac }),
  });
  return startMachine(folder, makeOverlay(template, `${folder}.qcow2`), base, seed, { mac });
}

function startMachine(
  folder: string,
  disk: string,
  { kernel, initrd }: Base,
  seed: Uint8Array,
  more: { mac: string; clock?: string },
): Machine {
  return new Machine({ folder, disk, base: { kernel, initrd }, seed, uuid: crypto.randomUUID(), ...more });
}

/** Waits until the guest has ended its stages. @throws Error with stage, command and last output when they failed */
export async function awaitBake(machine: Machine): Promise<void> {
  await machine.boot();
  // No timer of cloud-init: each stage has its own.
  await machine.awaitCloudInit(3600);
  await requireSuccess(machine, "bake");
}

/** Seals the guest. @throws Error as of a bake */
export async function sealGuest(machine: Machine): Promise<void> {
  await machine.agent.run(commandOf("seal"), { seconds: 900 });
  await requireSuccess(machine, "seal");
}

async function requireSuccess({ agent }: Machine, kind: Kind): Promise<void> {
  const { result: path, progress, log } = filesOf(kind);
  const text = await agent.readFile(path);
  if (text === undefined) {
    const told = progressOf((await agent.readFile(progress)) ?? "").at(-1)?.stage ?? "nothing";
    throw new Error(`no result of ${kind}; its progress: ${told}; its log:\n${(await agent.readFile(log)) ?? ""}`);
  }
  const result = resultOf(text);
  if (result.status === "failed")
    throw new Error(`${kind}: ${result.stage}: ${result.command}: ${result.why}\n${result.output.join("\n")}`);
}

/** Seconds that each stage took. */
export async function stageSeconds({ agent }: Machine, kind: Kind): Promise<Record<string, number>> {
  const steps = progressOf((await agent.readFile(filesOf(kind).progress)) ?? "");
  return Object.fromEntries(
    steps
      .slice(0, -1)
      .map(({ at: begun, stage }, index) => [stage, Math.round((steps[index + 1]?.at ?? begun) - begun)]),
  );
}

/** Makes the checks of a moment. */
export async function findDefects(
  { agent, options: { uuid } }: Machine,
  definition: ImageDefinition,
  moment: Moment,
): Promise<Finding[]> {
  const checks = at(moment, checksOf(definition));
  const { stdout } = await agent.run(["/bin/sh", "-s"], { input: scriptOf(checks), seconds: 120 });
  return findingsOf(checks, stdout, { uuid });
}

/** A defect, and which checks found it. */
export interface Verdict {
  check: string;
  defect: string;
  found: string[];
}

/** Plants the defect of each check into a guest of its own, at the last moment that the check is made. */
export function mutantsOf(definition: ImageDefinition, moment: Moment): ((guest: Machine) => Promise<Verdict>)[] {
  return checksOf(definition)
    .filter(({ moments }) => moments.at(-1) === moment)
    .map(({ id, mutant }) => async (guest) => {
      await guest.agent.sh(mutant.plant, 60);
      const found = await findDefects(guest, definition, moment);
      return { check: id, defect: mutant.defect, found: found.map((one) => one.id) };
    });
}
