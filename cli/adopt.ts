import * as files from "node:fs/promises";
import { join } from "node:path";
import type { Command } from "commander";
import { show } from "../src/runtime/log.ts";
import { messageOf, UserError } from "../src/runtime/errors.ts";
import type { Config } from "../src/config/config.ts";
import { guest } from "../images/contract.ts";
import { Kubernetes } from "../src/clients/kubernetes/client.ts";
import { parseKubeconfig, type Kubeconfig } from "../src/clients/kubernetes/kubeconfig.ts";
import { ipAddressesOf, isServer, lifelongKeysOf, listNodes, nameOf, uuidOf } from "../src/clients/kubernetes/nodes.ts";
import { paths, type Node } from "../src/clients/kubernetes/types.ts";
import { apiAt } from "../src/clients/kubernetes/urls.ts";
import { isNoSuchFile, readFile } from "../src/clients/proxmox/agent.ts";
import { Proxmox } from "../src/clients/proxmox/client.ts";
import { ProxmoxError } from "../src/clients/proxmox/errors.ts";
import { listVms, readVm, requireSight, type ListedVm } from "../src/clients/proxmox/vms.ts";
import { projectRoot } from "../src/runtime/project.ts";
import { findHandGiven, withHandGiven } from "./hand-given.ts";
import { withStack } from "./open-stack.ts";
import { toolchain } from "../tools/index.ts";
import {
  familyNotes,
  propose,
  shown,
  withEntries,
  type AddressedNode,
  type CandidateNode,
  type CandidateVm,
} from "./adopt-proposal.ts";
import { readStackConfig } from "../src/config/stack-config.ts";
import { findStackFile } from "../src/config/stack-file.ts";
import { labels } from "../src/domain/model/formats.ts";
import { clusterKeyProblems } from "../src/domain/rollout/cluster-keys.ts";

interface Options {
  stack: string;
  pool?: string;
  kubeconfig?: string;
  labels?: boolean;
  write?: boolean;
}

/** `evergreen adopt`: proposes adoption entries for an existing cluster. It changes no node, VM or cluster. */
export function adoptCommand(program: Command): void {
  program
    .command("adopt")
    .description("propose how a cluster that was not made by Evergreen is taken over, and what is not touched")
    .option("-s, --stack <name>", "stack that shall own the cluster", "dev")
    .option("--pool <name>", "pool of its agents; needed when the stack has several")
    .option("--kubeconfig <file>", "administrator's kubeconfig of the cluster; default: KUBECONFIG")
    .option("--labels", "adopt labels and taints that nodes of the stack have by hand, in place of nodes")
    .option("--write", "put the entries into Pulumi.<stack>.yaml")
    .action((options: Options) => (options.labels === true ? adoptLabels(options) : adopt(options)));
}

async function adoptLabels({ stack, write = false }: Options): Promise<void> {
  await withStack(stack, async ({ config, observed: { kubernetes } }) => {
    if (kubernetes === undefined)
      throw new UserError({
        what: `${config.cluster} has no cluster yet whose nodes could have labels`,
        where: `stack ${stack}`,
        todo: "make it first: npx pulumi up",
      });
    const nodes = await listNodes(kubernetes, { cluster: config.cluster });
    const found = findHandGiven(config, (pool) =>
      nodes.filter((node) => node.metadata?.labels?.[labels.pool] === pool),
    );
    for (const { pool, ofSome } of found)
      for (const one of ofSome) show(`not adopted: ${one} is not on all nodes of ${pool}`);
    const adopted = found.filter((one) => Object.keys(one.labels).length + one.taints.length > 0);
    if (adopted.length === 0) {
      show("nothing to adopt");
      return;
    }
    for (const one of adopted) {
      const shown = [
        ...Object.entries(one.labels).map(([key, value]) => `label ${key}=${value}`),
        ...one.taints.map((taint) => `taint ${taint}`),
      ];
      show(`${one.pool}: ${shown.join(", ")}`);
    }
    const file = await findStackFile(stack);
    if (!write) {
      show(`# put them under labels and taints in ${file}, or run this again with --write`);
      return;
    }
    const path = join(projectRoot, file);
    await files.writeFile(path, withHandGiven(await files.readFile(path, "utf8"), config, adopted, file));
    show(`# written to ${file}: the next update replaces the nodes of these pools, and their successors have them`);
  });
}

async function adopt({ stack, pool, kubeconfig, write = false }: Options): Promise<void> {
  const tools = await toolchain({ quiet: true, parts: ["engine"], stack, plugins: false });
  const environment = tools.environment({}, stack);
  const config = await readStackConfig(stack, { environment });
  const cluster = await readKubeconfig(kubeconfig ?? environment.KUBECONFIG);
  const agentPool = poolOf(config, pool);
  const pve = Proxmox.fromEnvironment(environment);
  const client = new Kubernetes(cluster);
  try {
    await requireSight(pve, config.site.proxmoxPool);
    const { items } = await client.list<Node>(paths.nodes);
    const families = familyNotes(config, items.map(addressed));
    const nodes = items.map((node) => candidate(node, config.cluster));
    const vms = await Promise.all((await listVms(pve)).map((vm) => readCandidateVm(pve, vm, nodes)));
    const proposal = propose(config, nodes, vms, agentPool);
    proposal.notes.push(...(await checkRegistration(cluster, config)), ...keyNotes(config, items), ...families);
    for (const { node, why } of proposal.untouched) show(`not touched: ${node}: ${why}`);
    for (const note of proposal.notes) show(`first: ${note}`);
    if (proposal.entries.size === 0) {
      show("nothing to adopt");
      return;
    }
    show(shown(proposal));
    const file = await findStackFile(stack);
    if (!write) {
      show(`# put them into ${file}, or run this again with --write`);
      return;
    }
    const path = join(projectRoot, file);
    await files.writeFile(path, withEntries(await files.readFile(path, "utf8"), config, proposal, file));
    show(`# written to ${file}: look at it, commit it, and run pulumi preview`);
  } finally {
    await Promise.all([pve.close(), client.close()]);
  }
}

async function readKubeconfig(file: string | undefined): Promise<Kubeconfig> {
  const todo =
    "name the cluster's administrator's kubeconfig with --kubeconfig: /etc/rancher/rke2/rke2.yaml of a server, with its address";
  if (file === undefined || file === "")
    throw new UserError({ what: "there is no kubeconfig of the cluster", where: "--kubeconfig and KUBECONFIG", todo });
  const text = await files.readFile(file, "utf8").catch((error: unknown) => {
    throw new UserError({ what: `the kubeconfig cannot be read: ${messageOf(error)}`, where: file, todo });
  });
  return parseKubeconfig(text, file);
}

/** @throws UserError when the configuration has no such pool */
function poolOf({ pools }: Config, name: string | undefined): string | undefined {
  if (name === undefined) return pools.length === 1 ? pools[0]?.name : undefined;
  if (pools.some((pool) => pool.name === name)) return name;
  throw new UserError({
    what: `there is no pool ${name} to adopt agents into`,
    where: "--pool",
    todo: `name one of the configuration: ${pools.map((pool) => pool.name).join(", ") || "it has none"}`,
  });
}

function candidate(node: Node, cluster: string): CandidateNode {
  const own = node.metadata?.labels ?? {};
  const pool = own[labels.cluster] === cluster ? own[labels.pool] : undefined;
  return {
    name: nameOf(node),
    uuid: uuidOf(node),
    role: isServer(node) ? "server" : "agent",
    created: node.metadata?.creationTimestamp ?? "",
    ours: pool === undefined ? undefined : { pool, slot: Number(own[labels.slot]) },
  };
}

function addressed(node: Node): AddressedNode {
  const lifelongKeys = isServer(node) ? lifelongKeysOf(node) : undefined;
  return { name: nameOf(node), addresses: ipAddressesOf(node), ...(lifelongKeys && { lifelongKeys }) };
}

/** Keys that the servers' configuration has to repeat: a new server with other ones never joins, or harms the network. */
function keyNotes({ controlPlane }: Config, nodes: readonly Node[]): string[] {
  const live = nodes.filter(isServer).map((node) => ({ shown: lifelongKeysOf(node) }));
  return clusterKeyProblems(controlPlane.config, live).map(({ what, where, todo }) => `${where}: ${todo} (${what})`);
}

/** Reads a VM. Its agent is asked only when its Node could be adopted: a silent agent takes seconds. */
async function readCandidateVm(pve: Proxmox, vm: ListedVm, nodes: readonly CandidateNode[]): Promise<CandidateVm> {
  const { name, uuid, template } = await readVm(pve, vm);
  const asked = !template && nodes.some((node) => node.uuid === uuid && node.ours === undefined);
  return { vmid: vm.vmid, name, uuid, template, pool: vm.pool, answers: asked && (await isAnswering(pve, vm)) };
}

/** Reads a file through the agent, with a right that every step has. That the file is missing is also an answer. */
async function isAnswering(pve: Proxmox, vm: ListedVm): Promise<boolean> {
  try {
    await readFile(pve, vm, guest.config);
    return true;
  } catch (error) {
    if (isNoSuchFile(error)) return true;
    if (error instanceof ProxmoxError) return false;
    throw error;
  }
}

/** Checks the registration address: every step connects through it, and verifies the servers' present certificate. */
async function checkRegistration(cluster: Kubeconfig, { site }: Config): Promise<string[]> {
  const client = new Kubernetes({ ...cluster, server: apiAt(site.registrationAddress) });
  try {
    await client.get("/version");
    return [];
  } catch (error) {
    return [
      `the cluster does not answer at site.registrationAddress ${site.registrationAddress} (${messageOf(error)}): put it in front of the servers, and into their tls-san`,
    ];
  } finally {
    await client.close();
  }
}
