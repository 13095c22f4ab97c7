import type { Live } from "../live.ts";
import { Proxmox } from "../proxmox/client.ts";
import { unseenAmong } from "../proxmox/vms.ts";
import type { EngineState } from "./engine-state.ts";
import { stackConfig } from "./stack-config.ts";

type Vm = EngineState["vms"][number];

/**
 * VMs that the engine knows and that are gone, by one look at the list of VMs. None while another of its VMs is out of
 * sight, because a refresh would forget that one too. None when it cannot be looked: the program looks too, does not start
 * either, and says why in full.
 */
export async function lostVms(stack: string, environment: NodeJS.ProcessEnv, known: readonly Vm[]): Promise<Vm[]> {
  if (known.length === 0) return [];
  try {
    const { site } = await stackConfig(stack);
    const pve = Proxmox.fromEnvironment(environment);
    const { gone, hidden } = await unseenAmong(pve, site.proxmoxPool, known).finally(() => pve.close());
    return hidden.length > 0 ? [] : gone;
  } catch {
    return [];
  }
}

/**
 * Whether the engine may forget VMs that are gone without being asked. Not when one was a member: the program refuses to
 * start without it, and `evergreen repair` heals that when an operator asks. Without a way into the cluster nobody knows.
 */
export function mayForget(gone: readonly Vm[], { kubernetes, nodes, records }: Live): boolean {
  if (!kubernetes) return false;
  const remembered = [...records.values()].flatMap((record) => record.nodes);
  const members = remembered.filter(({ phase }) => phase === "joined" || phase === "handedOver");
  const names = new Set([...nodes, ...members].map(({ name }) => name));
  return !gone.some(({ name }) => names.has(name));
}
