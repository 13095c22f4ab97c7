import type { Config } from "../config/config.ts";
import { observeCluster, type ObservedCluster } from "./observed-cluster.ts";
import { checkRights } from "./preflight.ts";
import { Proxmox } from "../clients/proxmox/client.ts";
import { toolchain } from "../../tools/index.ts";
import { stackConfig } from "../config/stack-config.ts";

/** What a command about a stack works with. */
export interface OpenStack {
  config: Config;
  pve: Proxmox;
  observed: ObservedCluster;
}

/**
 * Reads a stack's configuration and what both APIs say of it, does the work, and lets go of both.
 * @throws UserErrors when the token may not see all of it: what it cannot see would look gone
 */
export async function withStack<T>(stack: string, work: (site: OpenStack) => Promise<T>): Promise<T> {
  const tools = await toolchain({ quiet: true, parts: ["engine"], stack, plugins: false });
  const config = await stackConfig(stack);
  const pve = Proxmox.fromEnvironment(tools.environment({}, stack));
  await checkRights(pve, config, "read");
  const observed = await observeCluster(pve, config);
  try {
    return await work({ config, pve, observed });
  } finally {
    await Promise.all([pve.close(), observed.kubernetes?.close()]);
  }
}
