import { UserError } from "../../runtime/errors.ts";
import type { Proxmox } from "./client.ts";
import { readVm, askWhereItIs, type VmConfig } from "./vms.ts";

/** What a VM must match before it may be started, changed, stopped or destroyed. */
export interface ExpectedVm {
  vmid: number;
  name: string;
  /** All of these are required; more are the administrator's concern. */
  tags: readonly string[];
  /**
   * SMBIOS uuid that was recorded when the VM was created. Absent only right after the clone, before it is recorded.
   */
  uuid: string | undefined;
}

const IF_OURS = "if it is ours and was changed by hand, change it back";

/** The VM is not the one that we created. Nothing was done to it. */
export class IdentityError extends UserError {
  /** Each difference as `what is, expected what`. */
  readonly differences: readonly string[];

  constructor(expected: ExpectedVm, where: string, differences: readonly string[], todo = IF_OURS) {
    super({
      what: `VM ${expected.vmid} is not ${expected.name}: ${differences.join("; ")}`,
      where,
      todo: `nothing was done to it. If it is a stranger's, move our range of VMIDs or that VM; ${todo}`,
    });
    this.differences = differences;
  }
}

/** All differences between a VM and what it must match; empty when the VM is the expected one. */
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

/** @throws IdentityError that names every difference */
export function identify(config: VmConfig, expected: ExpectedVm): void {
  const found = differences(config, expected);
  if (found.length > 0) throw new IdentityError(expected, `host ${config.host}`, found);
}

/**
 * Reads the VM now and proves its identity: call it right before every start, change, stop or destroy. The digest of
 * the answer makes the next write of the configuration fail if the VM has become another one in between.
 * @param host where the VM was last; an administrator, or Proxmox's HA, may have moved it since
 * @returns the VM with the host that it is on now, where the next request must go
 */
export async function proveVm(pve: Proxmox, host: string, expected: ExpectedVm): Promise<VmConfig> {
  const config = await askWhereItIs(pve, { host, vmid: expected.vmid }, (vm) => readVm(pve, vm));
  identify(config, expected);
  return config;
}
