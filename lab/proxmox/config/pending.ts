/** Pending changes are kept in a section of their own: a running VM applies some at once, the next start the rest. */
import type { DataCentre } from "../data-centre.ts";
import type { Value, Vm } from "../model.ts";
import { freeVolume } from "../volumes.ts";
import { orderOf } from "./boot.ts";
import { isCloudInit, isDrive } from "./options.ts";
import { isCdrom, isCloudInitDrive, parseDrive } from "./properties.ts";

/** Options whose changes a running VM always applies. */
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
  "cpuunits",
  "cpulimit",
]);

/** Options of a disk that cannot change while the VM runs. */
const fixed = ["aio", "discard", "iothread", "queues", "product", "cache", "ssd", "vendor", "ro"];

/** Releases the old volume of a drive: a disk stays with the VM as unused, a cloud-init drive is freed. */
export async function letGo(dc: DataCentre, vm: Vm, before: Value, after: Value | null): Promise<void> {
  const old = parseDrive(String(before));
  if (!old.file.includes(":") || old.file === parseDrive(String(after ?? "")).file) return;
  if (isCloudInitDrive(old)) await freeVolume(dc, old.file);
  if (isCdrom(old)) return;
  let index = 0;
  while (vm.config.has(`unused${index}`)) index += 1;
  vm.config.set(`unused${index}`, old.file);
}

async function takeOver(dc: DataCentre, vm: Vm, key: string, after: Value | null): Promise<void> {
  const before = vm.config.get(key);
  if (isDrive(key) && before !== undefined) await letGo(dc, vm, before, after);
  vm.pending.delete(key);
  if (after === null) vm.config.delete(key);
  else vm.config.set(key, after);
}

/** The pending changes, deletions first. */
function waiting(vm: Vm): [string, Value | null][] {
  return [...vm.pending].sort(([, a], [, b]) => Number(b === null) - Number(a === null));
}

/** Drops pending changes that match the current configuration. */
function tidy(vm: Vm): void {
  for (const [key, value] of [...vm.pending]) if (value === (vm.config.get(key) ?? null)) vm.pending.delete(key);
}

/** Applies the changes that were pending until the next start. */
export async function applyPending(dc: DataCentre, vm: Vm): Promise<void> {
  tidy(vm);
  for (const [key, value] of waiting(vm)) await takeOver(dc, vm, key, value);
}

function plugsDrive(vm: Vm, key: string, after: Value | null, canPlug: boolean): boolean {
  const before = vm.config.get(key);
  if (before !== undefined && after !== null) {
    const [old, next] = [parseDrive(String(before)), parseDrive(String(after))];
    if (isCdrom(old)) return isCdrom(next);
    if (old.file === next.file) return fixed.every((name) => old.options.get(name) === next.options.get(name));
  }
  return canPlug && /^(scsi|virtio)\d+$/.test(key);
}

/** True when a running VM applies the change at once. */
function hotplugs(vm: Vm, key: string, value: Value | null): boolean {
  if (always.has(key) || isCloudInit(key)) return true;
  const features = String(vm.config.get("hotplug") ?? "network,disk,usb").split(/[,; ]+/);
  const has = (feature: string) => features.includes(feature) || features[0] === "1";
  if (/^net\d+$/.test(key)) return has("network");
  // The balloon of a running VM can be resized, but neither added nor removed.
  if (key === "balloon") return (vm.config.get(key) === 0) === (value === 0);
  if (key === "hotplug") return !/cpu|memory/.test(`${String(value)} ${String(vm.config.get(key))}`);
  return isDrive(key) && plugsDrive(vm, key, value, has("disk"));
}

/** A running VM keeps the disks that it booted from. */
function plugProblem(vm: Vm, key: string, after: Value | null): string | undefined {
  const before = vm.config.get(key);
  if (!isDrive(key) || before === undefined || !orderOf(vm.config)?.includes(key)) return undefined;
  const old = parseDrive(String(before));
  if (isCdrom(old) || old.file === parseDrive(String(after ?? "")).file) return undefined;
  return `hotplug problem - can't unplug bootdisk '${key}'\n`;
}

/** Records what the cloud-init drive contains for an option that changes after the drive was generated. */
function remember(vm: Vm, key: string, after: Value | null): void {
  if (!isCloudInit(key)) return;
  if (!vm.drawn.has(key)) vm.drawn.set(key, vm.config.get(key) ?? null);
  if (vm.drawn.get(key) === after) vm.drawn.delete(key);
}

/**
 * Applies those of these options that a running VM can apply.
 * @returns the refusals, by option; a refused change stays pending
 */
export async function plugPending(
  dc: DataCentre,
  vm: Vm,
  touched: ReadonlySet<string>,
): Promise<Record<string, string>> {
  tidy(vm);
  const errors: Record<string, string> = {};
  for (const [key, value] of waiting(vm)) {
    if (!touched.has(key) || !hotplugs(vm, key, value)) continue;
    const problem = plugProblem(vm, key, value);
    if (problem !== undefined) errors[key] = problem;
    else {
      remember(vm, key, value);
      await takeOver(dc, vm, key, value);
    }
  }
  return errors;
}
