import { VmBusy } from "../../clients/proxmox/settle.ts";
import type { VmConfig } from "../../clients/proxmox/vms.ts";

/** The error for a VM that HA could not bring into the state that it was asked for: Proxmox refuses every start and stop. */
export function givenUpByHa({ name, vmid, host }: VmConfig): VmBusy {
  return new VmBusy({
    what: `${name} is in the error state of Proxmox HA, in which Proxmox neither starts nor stops it`,
    where: `VM ${vmid} on ${host}`,
    todo: `see in Proxmox why HA gave it up, and take it out of HA (ha-manager remove vm:${vmid}), which leaves it as it is: --state disabled would turn off one that runs. Then run again: nothing was judged`,
  });
}
