import type { Config } from "../config/config.ts";
import { observeCluster, type ObservedCluster } from "./observed-cluster.ts";
import { checkRights } from "./preflight.ts";
import { Proxmox } from "../clients/proxmox/client.ts";
import { readStackConfig } from "../config/stack-config.ts";

/** The configuration, the Proxmox client and the observed state that a command works with. */
export interface OpenStack {
  config: Config;
  pve: Proxmox;
  observed: ObservedCluster;
}

/**
 * Reads a stack's configuration and its observed state, does the work, and closes both connections.
 * @param environment as a step gets it: it says how Proxmox is reached
 * @param project directory of the stack's file. @default the project's
 * @throws UserErrors when the token may not see everything: a VM that it cannot see would seem to be gone
 */
export async function withOpenStack<T>(
  stack: string,
  environment: NodeJS.ProcessEnv,
  work: (site: OpenStack) => Promise<T>,
  project?: string,
): Promise<T> {
  const config = await readStackConfig(stack, { environment, ...(project !== undefined && { project }) });
  const pve = Proxmox.fromEnvironment(environment);
  await checkRights(pve, config, "read");
  const observed = await observeCluster(pve, config);
  try {
    return await work({ config, pve, observed });
  } finally {
    await Promise.all([pve.close(), observed.kubernetes?.close()]);
  }
}
