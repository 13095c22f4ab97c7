import { createHash } from "node:crypto";
import type { Value, Vm } from "../model.ts";
import { isCdrom, isCloudInitDrive, parseDrive } from "./properties.ts";
import { isCloudInit, isDrive } from "./options.ts";

/** The configuration as it will be after the next start. */
export function effective(vm: Vm): Map<string, Value> {
  const result = new Map(vm.config);
  for (const [key, value] of vm.pending) {
    if (value === null) result.delete(key);
    else result.set(key, value);
  }
  return result;
}

/** SHA-1 of the configuration file. */
export function digestOf(vm: Vm): string {
  const lines = (section: Iterable<[string, Value | null]>) =>
    [...section]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, value]) => `${key}: ${value ?? ""}\n`)
      .join("");
  const text = lines(vm.config) + (vm.pending.size > 0 ? `[PENDING]\n${lines(vm.pending)}` : "");
  return createHash("sha1").update(text).digest("hex");
}

function hidden(key: string, value: Value): Value {
  return key === "cipassword" ? "**********" : value;
}

/** `GET config` */
export function shownConfig(vm: Vm, current: boolean): Record<string, Value> {
  const entries = [...(current ? vm.config : effective(vm))].map(([key, value]) => [key, hidden(key, value)] as const);
  return { ...Object.fromEntries(entries), digest: digestOf(vm) };
}

/** `GET pending` */
export function pendingRows(vm: Vm): Record<string, unknown>[] {
  const rows = [...new Set([...vm.config.keys(), ...vm.pending.keys()])].map((key) => {
    const value = vm.config.get(key);
    const next = vm.pending.get(key);
    return {
      key,
      ...(value !== undefined && { value: hidden(key, value) }),
      ...(next !== undefined && next !== null && { pending: hidden(key, next) }),
      ...(next === null && { delete: 1 }),
    };
  });
  return [...rows, { key: "digest", value: digestOf(vm) }];
}

/** `GET cloudinit` */
export function cloudInitRows(vm: Vm): Record<string, unknown>[] {
  // The address of a NIC that is not there is none.
  const isShown = (key: string) =>
    isCloudInit(key) && (!key.startsWith("ipconfig") || vm.config.has(key.replace("ipconfig", "net")));
  return pendingRows(vm).filter((row) => isShown(String(row.key)));
}

/** Takes over what waited for the next start. */
export function applyPending(vm: Vm, only: (key: string) => boolean = () => true): void {
  for (const [key, value] of [...vm.pending]) {
    if (!only(key)) continue;
    vm.pending.delete(key);
    if (value === null) vm.config.delete(key);
    else vm.config.set(key, value);
  }
}

const always = new Set([
  "name",
  "onboot",
  "shares",
  "startup",
  "description",
  "protection",
  "tags",
  "vmstatestorage",
  "migrate_downtime",
  "migrate_speed",
]);

/** True when a running VM takes the change at once. */
export function hotplugs(vm: Vm, key: string, value: Value | null): boolean {
  if (always.has(key)) return true;
  const features = String(vm.config.get("hotplug") ?? "network,disk,usb").split(",");
  if (/^net\d+$/.test(key)) return features.includes("network");
  if (/^(scsi|virtio)\d+$/.test(key)) return features.includes("disk");
  if (isDrive(key)) return value !== null && vm.config.has(key) && isCdrom(parseDrive(String(value)));
  return false;
}

/** The key of the cloud-init drive. */
export function cloudInitDrive(config: ReadonlyMap<string, Value>): string | undefined {
  return [...config].find(([key, value]) => isDrive(key) && isCloudInitDrive(parseDrive(String(value))))?.[0];
}
