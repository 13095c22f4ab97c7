import { isReady, nameOf } from "../../clients/kubernetes/nodes.ts";
import { paths, type Node } from "../../clients/kubernetes/types.ts";
import { isAgentSilent, withAgent } from "../../clients/proxmox/agent.ts";
import { isReloading, isUnsettled, readLoaded } from "../../clients/proxmox/guest-registries.ts";
import { listVms } from "../../clients/proxmox/vms.ts";
import { messageOf } from "../../runtime/errors.ts";
import type { StepContext } from "../context.ts";
import type { SuspectNode } from "./attribution.ts";

/*
 * RKE2 does not start with registries that it cannot read, whatever its image is: a node that is down for them says
 * nothing about its generation.
 */

const todo = "correct evergreen:registries, or put it back as it was";

/**
 * Whether RKE2 of a node has not started with the registries that it was given.
 * @returns undefined also when its agent is silent: for a guest that hangs its image is judged
 */
export async function findUnsettledRegistries(
  { pve, stop }: StepContext,
  { name, vm }: SuspectNode,
): Promise<string | undefined> {
  try {
    const isOpen = await withAgent(name, stop, () => isUnsettled(pve, vm));
    return isOpen ? `its RKE2 has not started with the registries that it was given: ${todo}` : undefined;
  } catch (error) {
    return isAgentSilent(error) ? undefined : `its registries cannot be seen: ${messageOf(error)}`;
  }
}

/** Those of some nodes whose RKE2 was told to restart for other registries, and may do so at any moment. */
export async function findReloading({ pve }: StepContext, names: Iterable<string>): Promise<ReadonlySet<string>> {
  const all = new Set(names);
  const vms = await listVms(pve);
  const found = vms.map(async (vm) => {
    const { name = "" } = vm;
    return all.has(name) && (await isReloading(pve, vm).catch(() => false)) ? [name] : [];
  });
  return new Set((await Promise.all(found)).flat());
}

/**
 * Whether a node that has never registered is the first one with its registries: those of a new node are written before
 * RKE2 starts. A Node that is Ready, and has the same ones, proves them.
 */
export async function findUntriedRegistries(
  { pve, stop }: StepContext,
  { name, vm, client }: SuspectNode,
): Promise<string | undefined> {
  try {
    const own = await withAgent(name, stop, () => readLoaded(pve, vm));
    if (own === "") return undefined;
    const [{ items }, vms] = await Promise.all([client.list<Node>(paths.nodes), listVms(pve)]);
    const ready = new Set(items.filter((node) => nameOf(node) !== name && isReady(node)).map(nameOf));
    const others = vms.filter((one) => ready.has(one.name ?? ""));
    const loaded = await Promise.all(others.map((one) => readLoaded(pve, one).catch(() => "")));
    return loaded.includes(own) ? undefined : `no node has started with its registries yet: if it is for them, ${todo}`;
  } catch (error) {
    return isAgentSilent(error) ? undefined : `its registries cannot be seen: ${messageOf(error)}`;
  }
}
