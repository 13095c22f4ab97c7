import { UserError } from "../../runtime/errors.ts";
import type { Proxmox } from "./client.ts";
import { readVm, whereItIs, type VmConfig } from "./vms.ts";

/** Who a VM has to be before it may be started, changed, stopped or destroyed. */
export interface ExpectedVm {
  vmid: number;
  name: string;
  /** All of these; more are an administrator's affair. */
  tags: readonly string[];
  /** SMBIOS uuid that was recorded when we made it. Absent only right after the clone, before anything was recorded. */
  uuid: string | undefined;
}

/** The VM is not the one that we made. Nothing was done to it. */
export class IdentityError extends UserError {
  /** Each difference as `what is, expected what`. */
  readonly differences: readonly string[];

  constructor(expected: ExpectedVm, where: string, differences: readonly string[]) {
    super({
      what: `VM ${expected.vmid} is not ${expected.name}: ${differences.join("; ")}`,
      where,
      todo: "nothing was done to it. If it is a stranger's, move our range of VMIDs or that VM; if it is ours and was changed by hand, change it back",
    });
    this.differences = differences;
  }
}

/** Everything in which a VM differs from what it has to be; empty when it is the one. */
export function differences(config: VmConfig, expected: ExpectedVm): string[] {
  const found: string[] = [];
  if (config.template) found.push("it is a template");
  if (config.vmid !== expected.vmid) found.push(`VMID ${config.vmid}, expected ${expected.vmid}`);
  if (config.name !== expected.name) found.push(`name "${config.name}", expected "${expected.name}"`);
  if (config.uuid === "") found.push("no SMBIOS uuid");
  else if (expected.uuid !== undefined && config.uuid !== expected.uuid.toLowerCase()) {
    found.push(`SMBIOS uuid ${config.uuid}, recorded ${expected.uuid}`);
  }
  const missing = expected.tags.filter((tag) => !config.tags.includes(tag));
  if (missing.length > 0) found.push(`without the tags ${missing.join(", ")}`);
  return found;
}

/** @throws IdentityError that says every difference */
export function identify(config: VmConfig, expected: ExpectedVm): void {
  const found = differences(config, expected);
  if (found.length > 0) throw new IdentityError(expected, `host ${config.host}`, found);
}

/**
 * Reads the VM now and proves who it is: to be called right before every start, change, stop or destroy. The digest of
 * the answer makes the next write of its configuration fail if the VM became another in between.
 * @param host where it was last; an administrator, or Proxmox's HA, may have moved it since
 * @returns it with the host that it is on now: what follows is to be done there
 */
export async function proveVm(pve: Proxmox, host: string, expected: ExpectedVm): Promise<VmConfig> {
  const config = await whereItIs(pve, { host, vmid: expected.vmid }, (vm) => readVm(pve, vm));
  identify(config, expected);
  return config;
}
