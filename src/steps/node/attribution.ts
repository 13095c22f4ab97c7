import { messageOf, UserError } from "../../runtime/errors.ts";
import type { Kubernetes } from "../../clients/kubernetes/client.ts";
import { isReady, nameOf } from "../../clients/kubernetes/nodes.ts";
import { paths, type Node } from "../../clients/kubernetes/types.ts";
import { readPower } from "../../clients/proxmox/vms.ts";
import { mayGoOn } from "./power-on.ts";
import type { StepContext } from "../context.ts";
import { NodeUnhealthy } from "./verdict.ts";

/** An API that is away for less, in seconds, takes no time from anybody: a kubelet asks again within seconds. */
export const hiccup = 5;

/** A node of which it is said that it was late, or is not well. */
export interface SuspectNode {
  name: string;
  vm: { host: string; vmid: number };
  client: Kubernetes;
  /** `client.silence` when the time began that it is judged for. */
  silenceBefore: number;
  /** So long its VM has to have run, in seconds: one that we have not started ourselves meanwhile. @default any time */
  runsFor?: number;
}

/** @returns the error, or one that judges nobody, when something else took the node's time */
export async function attributeFailure(context: StepContext, accused: SuspectNode, error: unknown): Promise<unknown> {
  if (!(error instanceof NodeUnhealthy)) return error;
  const excuse = await externalCause(context, accused);
  return excuse === undefined ? error : unjudged(error, excuse);
}

/** What is said of a node whose time something else took. */
export function unjudged(error: NodeUnhealthy, excuse: string): UserError {
  const { what, where } = error.problem;
  const todo = "see to that first, then run pulumi up again: the image was not judged";
  return new UserError({ what, where: `${where}; ${excuse}`, todo }, { cause: error });
}

/**
 * What else may keep a node from being well: an API that was away, its host or its VM's power, or what ails most other nodes
 * too. Nothing of it says anything about its image.
 * @returns undefined: it is its own doing
 */
export async function externalCause(context: StepContext, accused: SuspectNode): Promise<string | undefined> {
  const { client, silenceBefore } = accused;
  const silence = client.silence - silenceBefore;
  if (silence > hiccup) return `the cluster's API gave no answer for ${Math.round(silence)} s of that time`;
  return (await whyNotRunning(context, accused)) ?? (await whatAilsOthers(accused));
}

async function whyNotRunning({ pve }: StepContext, { vm, runsFor = 0 }: SuspectNode): Promise<string | undefined> {
  try {
    const { running, state, upSeconds = Infinity } = await readPower(pve, vm);
    if (running && upSeconds < runsFor)
      return `VM ${vm.vmid} on ${vm.host} was started or migrated ${upSeconds} s ago, within that time`;
    if (running && mayGoOn(state)) return undefined;
    return `VM ${vm.vmid} on ${vm.host} ${running ? `stands still (${state ?? ""})` : "does not run"}`;
  } catch (error) {
    return `nobody can say whether VM ${vm.vmid} on ${vm.host} runs: ${messageOf(error)}`;
  }
}

async function whatAilsOthers({ client, name }: SuspectNode): Promise<string | undefined> {
  try {
    const others = (await client.list<Node>(paths.nodes)).items.filter((node) => nameOf(node) !== name);
    const unwell = others.filter((node) => !isReady(node));
    // One alone that is ill explains nothing: it may be the very server that the new one replaces (seed 20007 of the simulation).
    const isCommon = unwell.length > 0 && 2 * unwell.length >= others.length;
    return isCommon ? `not Ready either: ${unwell.map(nameOf).join(", ")}` : undefined;
  } catch (error) {
    return `the other nodes cannot be seen: ${messageOf(error)}`;
  }
}
