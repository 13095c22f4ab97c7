/** A VM's boot order. */
import { died } from "../answer.ts";
import type { Value, Vm } from "../model.ts";
import { isCdrom, parseDrive } from "./properties.ts";

/** Devices that the VM boots from; undefined: `boot` has the legacy form or is not set. */
export function orderOf(config: ReadonlyMap<string, Value>): string[] | undefined {
  const boot = config.get("boot");
  const order = /^order=(.*)$/.exec(String(boot ?? ""))?.[1];
  return order?.split(";").filter(Boolean);
}

/** @throws ApiError when the boot order names a device that the VM does not have after this request */
export function checkBoot(vm: Vm, settings: ReadonlyMap<string, string>, gone: readonly string[]): void {
  for (const device of orderOf(settings) ?? []) {
    const has = vm.config.has(device) || vm.pending.has(device) || settings.has(device);
    if (!has || gone.includes(device)) throw died(`invalid bootorder: device '${device}' does not exist'`);
  }
}

/** Removes deleted devices from the boot order, at the next start at the latest; adding them again does not undo it. */
export function removeFromBoot(vm: Vm, gone: readonly string[]): void {
  const order = orderOf(vm.config);
  if (!order?.some((device) => gone.includes(device))) return;
  const rest = order.filter((device) => !gone.includes(device));
  vm.pending.set("boot", rest.length > 0 ? `order=${rest.join(";")}` : " ");
}

/** Default boot order of a new VM: first disk, first CD drive, first NIC. */
export function defaultBoot(config: ReadonlyMap<string, Value>): string {
  const kinds = ["scsi", "virtio", "sata", "ide"];
  const drives = kinds.flatMap((kind) =>
    [...config.keys()].filter((key) => new RegExp(`^${kind}\\d+$`).test(key)).sort(),
  );
  const cdrom = (key: string) => isCdrom(parseDrive(String(config.get(key) ?? "")));
  const devices = [
    drives.find((key) => !cdrom(key)),
    drives.find((key) => cdrom(key)),
    [...config.keys()].filter((key) => /^net\d+$/.test(key)).sort()[0],
  ].filter((device) => device !== undefined);
  return devices.length > 0 ? `order=${devices.join(";")}` : " ";
}
