import { createHash } from "node:crypto";
import { stringify } from "yaml";
import { guest } from "../../../images/contract.ts";
import { supervisorAt } from "../../clients/kubernetes/urls.ts";
import { awaitAgent, isNoSuchFile, readFile, withAgent, writeFile } from "../../clients/proxmox/agent.ts";
import type { Proxmox } from "../../clients/proxmox/client.ts";
import { proveVm } from "../../clients/proxmox/identity.ts";
import type { VmConfig } from "../../clients/proxmox/vms.ts";
import { registrable } from "../../domain/model/labels.ts";
import { Deadline, DeadlineError } from "../../runtime/deadline.ts";
import type { SlotInput } from "../input.ts";
import { nodeLabels } from "./node-view.ts";
import { forgetRegistries, hasForgettable, writeRegistries } from "./registries.ts";
import type { StepContext } from "../context.ts";

/** Credentials that a node joins with: undefined for the first server, which bootstraps the cluster. */
export type JoinToken = { token: string } | undefined;

/**
 * Join data: the fragment of RKE2's configuration that makes a node a member.
 * @param host Proxmox host of its VM
 */
export function joinData(input: SlotInput, host: string, joinToken: JoinToken): string {
  const { site, role, spec } = input;
  const server = role === "server";
  const taints = [...(spec.taints ?? []), ...(spec.startupTaints ?? [])];
  return stringify({
    ...spec.config,
    ...(input.registries && { "private-registry": guest.registries }),
    ...(joinToken && { server: supervisorAt(site.registrationAddress), token: joinToken.token }),
    "node-name": input.node,
    ...nodeIp(input),
    "node-label": Object.entries(registrable(nodeLabels(input, host))).map(([key, value]) => `${key}=${value}`),
    ...(taints.length > 0 ? { "node-taint": taints } : {}),
    ...(server ? { "tls-san": tlsSans(site.registrationAddress, spec.config?.["tls-san"]) } : {}),
  });
}

/**
 * RKE2 finds addresses of both families itself, but of several by IPv6 not always the one that the VM was given, and none
 * without a default route (k3s, pkg/util/net.go). The kubelet takes none or both.
 */
function nodeIp({ address, address6 }: SlotInput): { "node-ip"?: string } {
  return address === undefined || address6 === undefined ? {} : { "node-ip": `${address},${address6}` };
}

function tlsSans(registration: string, more: unknown): string[] {
  const listed = Array.isArray(more) ? more : typeof more === "string" ? [more] : [];
  return [...new Set([registration, ...listed.map(String)])];
}

/**
 * Writes the join data and then the marker with its hash: the guest never acts on incomplete join data.
 * @param vm as it was proved before it booted; proved again after each wait, so that no other VM that has its VMID by
 *   then gets the token
 * @param mayJoin throws when the node may not join any more; called right before the marker, after all that may take
 *   long
 */
export async function writeJoinData(
  { pve, stop }: StepContext,
  vm: VmConfig,
  { role, registries }: Pick<SlotInput, "role" | "registries">,
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
  if (registries)
    await ours(async () => {
      await writeRegistries(pve, vm, registries, (await readMarker(pve, vm)) !== "");
    });
  // Most guests have none to forget, and only a write needs the proof.
  else if (await withAgent(vm.name, stop, () => hasForgettable(pve, vm))) await ours(() => forgetRegistries(pve, vm));
  await ours(async () => {
    await writeFile(pve, vm, guest.join, data);
    if (mayJoin === undefined) await marker();
  });
  // Both run again after each time that the guest was frozen: that may take two minutes.
  if (mayJoin) await ours(marker, mayJoin);
}

/**
 * Whether a guest has its join data: RKE2 of a guest without it was stopped or never started. Waits until a guest that
 * boots has booted.
 */
export async function readOrder(
  { pve, stop }: StepContext,
  { timeouts }: SlotInput["site"],
  vm: VmConfig,
): Promise<"told" | "none" | "unknown"> {
  const deadline = new Deadline(`the agent of ${vm.name}`, timeouts.agent, stop);
  const marker = awaitAgent(deadline, () => readMarker(pve, vm));
  return await marker.then(
    (text) => (text === "" ? "none" : "told"),
    (error: unknown) => {
      if (error instanceof DeadlineError) return "unknown";
      throw error;
    },
  );
}

async function readMarker(pve: Proxmox, vm: VmConfig): Promise<string> {
  return await readFile(pve, vm, guest.marker).then(String, (error: unknown) => {
    if (isNoSuchFile(error)) return "";
    throw error;
  });
}

/** Makes the guest stop RKE2 and forget the cluster: after its next boot it does not join by itself. */
export async function wipeJoinData(pve: Proxmox, vm: { host: string; vmid: number }): Promise<void> {
  await writeFile(pve, vm, guest.join, "");
  await writeFile(pve, vm, guest.marker, "");
}
