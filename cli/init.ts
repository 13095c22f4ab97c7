import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline/promises";
import { InvalidArgumentError, type Command } from "commander";
import { Proxmox } from "../src/clients/proxmox/client.ts";
import { findTaken } from "../src/clients/proxmox/vms.ts";
import { findStackFile } from "../src/config/stack-file.ts";
import { readSite } from "../src/observe/site-survey.ts";
import { UserError } from "../src/runtime/errors.ts";
import { say } from "../src/runtime/log.ts";
import { projectRoot } from "../src/runtime/project.ts";
import { toolchain } from "../tools/index.ts";
import { proposeConfig, type Wishes } from "./init-proposal.ts";

interface Options extends Partial<Omit<Wishes, "servers" | "workers">> {
  stack: string;
  servers: number;
  workers: number;
}

const whole = (text: string): number => {
  const number = Number(text);
  if (!Number.isInteger(number) || number < 0) throw new InvalidArgumentError("It must be a whole number.");
  return number;
};
const list = (text: string): string[] =>
  text
    .split(",")
    .map((one) => one.trim())
    .filter((one) => one !== "");
const stackName = (text: string): string => {
  if (!/^[\w.-]+$/.test(text))
    throw new InvalidArgumentError("It must be letters, digits, dots, dashes and underscores.");
  return text;
};

/** `evergreen init`: writes the first configuration of a stack from what the Proxmox API shows. It changes no site. */
export function initCommand(program: Command): void {
  program
    .command("init")
    .description("write Pulumi.<stack>.yaml for a new cluster from what the Proxmox API shows; it only reads there")
    .requiredOption("-s, --stack <name>", "stack to write", stackName)
    .option("--cluster <name>", "name of the cluster; default: that of the stack")
    .option(
      "--registration-address <address>",
      "address in front of the servers, ports 9345 and 6443; asked for otherwise",
    )
    .option("--servers <count>", "number of servers", whole, 3)
    .option("--workers <count>", "number of agents in the pool workers", whole, 3)
    .option("--first-address <address>", "IPv4 address of the first server; default: DHCP")
    .option(
      "--first-address6 <address>",
      "IPv6 address of the first server, for a cluster of both families; default: none",
    )
    .option("--image <name>", "template to clone; default: the newest one")
    .option("--hosts <names>", "Proxmox hosts, with commas; default: all that have the template", list)
    .option("--storage <name>", "storage of the nodes; default: that of the template")
    .option("--bridge <name>", "bridge of the nodes; default: that of the template")
    .option("--pool <name>", "Proxmox pool of the nodes; default: evergreen-nodes, or the only one")
    .option("--first-vmid <number>", "first VMID; default: the first hundred that nobody has", whole)
    .action(writeStack);
}

async function writeStack({ stack, cluster = stack, registrationAddress, ...wishes }: Options): Promise<void> {
  const file = join(projectRoot, await findStackFile(stack));
  if (existsSync(file))
    throw new UserError({
      what: `the stack ${stack} has a configuration already`,
      where: file,
      todo: "nothing was written. Name another stack, or edit the file: npx evergreen explain lists its keys",
    });
  const address =
    registrationAddress ?? (await askFor("Address in front of the servers (load balancer or virtual address): "));
  const tools = await toolchain({ quiet: true, parts: ["engine"], stack, plugins: false });
  const pve = Proxmox.fromEnvironment(tools.environment({}, stack));
  try {
    const site = await readSite(pve);
    const isFree = async (vmids: readonly number[]) => (await findTaken(pve, vmids)).length === 0;
    const made = await proposeConfig(site, { ...wishes, cluster, registrationAddress: address }, isFree);
    await writeFile(file, made.text, { flag: "wx" });
    say(`wrote ${file}`);
    for (const note of made.notes) say(`  note: ${note}`);
    say(`next: read it, then npx pulumi stack init ${stack}, and npx pulumi preview --stack ${stack}`);
  } finally {
    await pve.close();
  }
}

/** @throws UserError when nobody is there to answer */
async function askFor(question: string): Promise<string> {
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  try {
    const said = process.stdin.isTTY ? (await terminal.question(question)).trim() : "";
    if (said !== "") return said;
  } finally {
    terminal.close();
  }
  throw new UserError({
    what: "the address in front of the servers is missing",
    where: "--registration-address",
    todo: "name the load balancer or the virtual address that leads to port 9345 and 6443 of every ready server",
  });
}
