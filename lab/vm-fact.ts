import { parseProperties } from "./proxmox/config/properties.ts";
import type { Vm } from "./proxmox/model.ts";
import type { VmFact } from "./watcher/model.ts";

/** A VM of the data centre as the watcher's fact. */
export function vmFact(vm: Vm, seeded: ReadonlySet<number>): VmFact {
  const text = (key: string) => String(vm.config.get(key) ?? "");
  return {
    vmid: vm.vmid,
    name: text("name"),
    uuid: parseProperties(text("smbios1")).get("uuid") ?? "",
    running: vm.power !== undefined,
    template: vm.config.get("template") === 1,
    tags: text("tags").split(";").filter(Boolean),
    seeded: seeded.has(vm.vmid),
  };
}
