import { createHash } from "node:crypto";
import { stringify } from "yaml";
import { guest, ports } from "../../../images/contract.ts";
import { awaitAgent, isNoSuchFile, readFile, withAgent, writeFile } from "../../clients/proxmox/agent.ts";
import type { Proxmox } from "../../clients/proxmox/client.ts";
import { proveVm } from "../../clients/proxmox/identity.ts";
import type { VmConfig } from "../../clients/proxmox/vms.ts";
import { registrable } from "../../domain/model/labels.ts";
import { Deadline, DeadlineError } from "../../runtime/deadline.ts";
import type { SlotInput } from "../input.ts";
import { nodeLabels } from "./node-view.ts";
import type { StepContext } from "../context.ts";

/** How a node gets in: nothing for the first server, which makes the cluster. */
export type Ticket = { token: string } | undefined;

/** The fragment of RKE2's configuration that makes a node a member. */
export function joinData(input: SlotInput, ticket: Ticket): string {
  const { site, role, spec } = input;
  const server = role === "server";
  const taints = [...(spec.taints ?? []), ...(spec.startupTaints ?? [])];
  return stringify({
    ...spec.config,
    ...(ticket && { server: `https://${site.registrationAddress}:${ports.supervisor}`, token: ticket.token }),
    "node-name": input.node,
    "node-label": Object.entries(registrable(nodeLabels(input))).map(([key, value]) => `${key}=${value}`),
    ...(taints.length > 0 ? { "node-taint": taints } : {}),
    ...(server ? { "tls-san": tlsSans(site.registrationAddress, spec.config?.["tls-san"]) } : {}),
  });
}

function tlsSans(registration: string, more: unknown): string[] {
  const listed = Array.isArray(more) ? more : typeof more === "string" ? [more] : [];
  return [...new Set([registration, ...listed.map(String)])];
}

/**
 * Writes join data and then the marker with its hash: half of it is never acted on.
 * @param vm as it was proved before it booted; proved again after each wait, for a token must not get into the hands of whoever has
 * its number now
 * @param mayJoin asked right before the marker, after all that may take long: the last chance to refuse
 */
export async function writeJoinData(
  { pve, stop }: StepContext,
  vm: VmConfig,
  role: SlotInput["role"],
  data: string,
  mayJoin?: () => Promise<void>,
): Promise<void> {
  const marker = () => writeFile(pve, vm, guest.marker, `${role} ${createHash("sha256").update(data).digest("hex")}\n`);
  const ours = (work: () => Promise<void>, before?: () => Promise<void>) =>
    withAgent(vm.name, stop, async () => {
      await before?.();
      await proveVm(pve, vm.host, { ...vm, tags: [] });
      await work();
    });
  await ours(async () => {
    await writeFile(pve, vm, guest.join, data);
    if (mayJoin === undefined) await marker();
  });
  // Anew each time that the guest was frozen: that may take two minutes.
  if (mayJoin) await ours(marker, mayJoin);
}

/**
 * Whether a guest is told to join: RKE2 of one that is not has ended, or has never begun. One that boots answers when its boot is
 * over.
 */
export async function readOrder(
  { pve, stop }: StepContext,
  { timeouts }: SlotInput["site"],
  vm: VmConfig,
): Promise<"told" | "none" | "unknown"> {
  const ask = () =>
    readFile(pve, vm, guest.marker).then(String, (error: unknown) => {
      if (isNoSuchFile(error)) return "";
      throw error;
    });
  const marker = awaitAgent(new Deadline(`the agent of ${vm.name}`, timeouts.agent, stop), ask);
  return await marker.then(
    (text) => (text === "" ? "none" : "told"),
    (error: unknown) => {
      if (error instanceof DeadlineError) return "unknown";
      throw error;
    },
  );
}

/** Makes the guest stop RKE2 and forget the cluster: switched on again it does not come back by itself. */
export async function wipeJoinData(pve: Proxmox, vm: { host: string; vmid: number }): Promise<void> {
  await writeFile(pve, vm, guest.join, "");
  await writeFile(pve, vm, guest.marker, "");
}
