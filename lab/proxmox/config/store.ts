/** A VM's stored configuration as the API shows it. */
import { createHash } from "node:crypto";
import type { Value, Vm } from "../model.ts";
import { isCloudInitDrive, parseDrive } from "./properties.ts";
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

/** `GET cloudinit`: what the drive contains, and what it would contain now. Addresses show only as changes. */
export function cloudInitRows(vm: Vm): Record<string, unknown>[] {
  const same = [...vm.config.keys()].filter(
    (key) => isCloudInit(key) && !key.startsWith("ipconfig") && !vm.drawn.has(key),
  );
  return [...same, ...vm.drawn.keys()].map((key) => {
    const now = vm.config.get(key);
    const drawn = vm.drawn.get(key) ?? now;
    if (now === undefined) return { key, delete: 1 };
    return {
      key,
      ...(vm.drawn.get(key) !== null && drawn !== undefined && { value: hidden(key, drawn) }),
      ...(vm.drawn.has(key) && { pending: hidden(key, now) }),
    };
  });
}

/** The key of the cloud-init drive. */
export function cloudInitDrive(config: ReadonlyMap<string, Value>): string | undefined {
  return [...config].find(([key, value]) => isDrive(key) && isCloudInitDrive(parseDrive(String(value))))?.[0];
}
