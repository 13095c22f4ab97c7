import { join } from "node:path";
import { type Command, Option } from "commander";
import { UserError } from "../src/runtime/errors.ts";
import { say } from "../src/runtime/log.ts";
import type { LabStatus } from "../lab/control.ts";
import { Lab, readDaemon, startLab, stopLab } from "../lab/lab.ts";
import type { LabOptions } from "../lab/site.ts";
import { type Toolchain, toolchain } from "../tools/index.ts";
import { projectRoot } from "../src/runtime/project.ts";
import { quote } from "./env.ts";
import { table } from "./table.ts";

interface Options {
  name: string;
  prefix: string;
  profile: LabOptions["profile"];
  pve: LabOptions["version"];
}

/** `evergreen lab`: starts, shows and stops a lab, the emulated data centre. */
export function labCommand(program: Command): void {
  const lab = program.command("lab").description("the data centre in a box that the stack dev lives in");
  const named = (command: Command) => command.option("--name <name>", "which lab", "dev");
  named(lab.command("up"))
    .description("start it (idempotent)")
    .option("--prefix <octets>", "first two octets of its addresses", "127.40")
    .addOption(
      new Option("--profile <name>", "how fast its hardware is").choices(["fast", "nvme", "ceph"]).default("fast"),
    )
    .addOption(new Option("--pve <version>", "version of Proxmox VE").choices(["8.4", "9.2"]).default("8.4"))
    .action(async (options: Options) => {
      await bringUp(options);
    });
  named(lab.command("status"))
    .description("what runs in it, and whether an invariant was violated")
    .option("--json", "as JSON")
    .action(async ({ name, json }: Options & { json?: boolean }) => {
      const status = await find(name).status;
      process.stdout.write(json ? `${JSON.stringify(status, undefined, 2)}\n` : describe(status));
    });
  named(lab.command("down"))
    .description("stop it and remove every trace, the state of its stack included")
    .action(async ({ name }: Options) => {
      const there = readDaemon(directoryOf(name)) !== undefined;
      await stopLab(directoryOf(name));
      say(there ? `lab ${name} is gone` : `there is no lab ${name}`);
    });
}

/** The directory of a lab of this checkout. @throws UserError when the name could lead to another directory */
export function directoryOf(name: string): string {
  checkName(name);
  return join(projectRoot, ".evergreen", "lab", name);
}

/** The programs that a lab runs in its server VMs. */
export function labBinaries(tools: Toolchain): LabOptions["binaries"] {
  return {
    etcd: tools.bin("etcd"),
    etcdutl: tools.bin("etcdutl"),
    kubeApiserver: tools.bin("kube-apiserver"),
    kubeControllerManager: tools.bin("kube-controller-manager"),
    kubeScheduler: tools.bin("kube-scheduler"),
  };
}

function find(name: string): Lab {
  if (readDaemon(directoryOf(name)) !== undefined) return new Lab(directoryOf(name));
  throw new UserError({
    what: `there is no lab ${name}`,
    where: directoryOf(name),
    todo: `start it: npx evergreen lab up${name === "dev" ? "" : ` --name ${name}`}`,
  });
}

async function bringUp({ name, prefix, profile, pve }: Options): Promise<void> {
  checkPrefix(prefix);
  const directory = directoryOf(name);
  const binaries = labBinaries(await toolchain({ parts: ["lab"] }));
  const lab = await startLab({ name, prefix, profile, version: pve, binaries, directory });
  const status = await lab.status;
  const templates = status.vms.filter((vm) => vm.template).map((vm) => vm.name);
  const next =
    name !== "dev"
      ? `npx evergreen lab status --name ${name}`
      : status.nodes.length > 0
        ? "npx evergreen lab status"
        : "npx pulumi stack init dev (once), then npx pulumi up --stack dev";
  say(`lab ${status.name} is up: Proxmox VE ${status.version}, profile ${status.profile}, process ${status.pid}`);
  say(`  Proxmox VE API  ${status.endpoint}`);
  say(`  registration    https://${status.registration}:9345 and :6443, once there are servers`);
  say(`  templates       ${templates.join(", ")}`);
  say(`  files           ${lab.directory}`);
  say(`  kubectl         KUBECONFIG=${quote(lab.env.KUBECONFIG)} kubectl get nodes, once there are servers`);
  say(`next: ${next}`);
}

function checkName(name: string): void {
  if (/^[a-z][a-z0-9-]{0,30}$/.test(name)) return;
  throw new UserError({
    what: "the name of a lab is short and lower case",
    where: `--name ${name}`,
    todo: "use a-z, 0-9 and -",
  });
}

export function checkPrefix(prefix: string): void {
  const second = Number(/^127\.(\d{1,3})$/.exec(prefix)?.[1]);
  // The addresses of pods use the second octet plus 100.
  if (second >= 1 && second <= 155) return;
  throw new UserError({
    what: "a lab lives on the loopback network",
    where: `--prefix ${prefix}`,
    todo: "use 127.N with N from 1 to 155",
  });
}

function describe(status: LabStatus): string {
  const { probe } = status;
  const nodes = new Map(status.nodes.map((node) => [node.name, node]));
  const rows = status.vms.map((vm) => {
    const node = nodes.get(vm.name);
    const state =
      node === undefined ? "" : `${node.ready ? "Ready" : "NotReady"}${node.schedulable ? "" : ",cordoned"}`;
    const power = vm.template ? "template" : vm.running ? "running" : "off";
    return [String(vm.vmid), vm.name, vm.pool ?? "", power, state, node?.kubelet ?? ""];
  });
  const members = status.members.map(
    ({ name, learner, healthy }) => `${name} ${learner ? "learner" : healthy ? "voter" : "down"}`,
  );
  const lines = [
    `lab ${status.name}: Proxmox VE ${status.version} at ${status.endpoint}, profile ${status.profile}, since ${status.since}`,
    "",
    table(["VMID", "name", "pool", "power", "node", "kubelet"], rows),
    "",
    `etcd        ${members.join(", ") || "none"}`,
    `workload    ${status.load ? `${status.load.ready} of ${status.load.wanted} pods ready` : "not deployed yet"}`,
    `prober      ${probe.requests} requests, ${probe.failed} failed${lastFailure(status)}`,
    `API         ${status.requests.total} requests`,
    `memory      ${(status.memoryBytes / 2 ** 20).toFixed(0)} MiB`,
    `violations  ${status.violations.length}`,
    ...status.violations.map(({ at, invariant, subject, evidence }) => `  ${at} ${invariant}: ${subject}: ${evidence}`),
  ];
  return `${lines.join("\n")}\n`;
}

function lastFailure({ probe }: LabStatus): string {
  const last = [...probe.workload.failures, ...probe.api.failures].sort((a, b) => a.at.localeCompare(b.at)).at(-1);
  return last ? `, the last at ${last.at}: ${last.target}: ${last.reason}` : "";
}
