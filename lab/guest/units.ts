/** Units of systemd on a guest's disk: what is enabled lies beside its target, what is masked leads to /dev/null. */
import type { GuestFiles } from "./files.ts";

const own = (unit: string) => `/etc/systemd/system/${unit}`;
const wanted = (unit: string) => `/etc/systemd/system/multi-user.target.wants/${unit}`;
const vendors = ["/usr/lib/systemd/system", "/usr/local/lib/systemd/system"];

/** Content of a link to nothing. */
export const nothing = "/dev/null";

export function enableUnit(files: GuestFiles, unit: string): void {
  files.put(wanted(unit), `/usr/lib/systemd/system/${unit}`);
}

export function disableUnit(files: GuestFiles, unit: string): void {
  files.remove(wanted(unit));
}

export function maskUnit(files: GuestFiles, unit: string): void {
  files.remove(wanted(unit));
  files.put(own(unit), nothing);
}

export function unmaskUnit(files: GuestFiles, unit: string): void {
  if (files.text(own(unit)) === nothing) files.remove(own(unit));
}

/** Undefined: there is no such unit. */
export function unitState(files: GuestFiles, unit: string): "masked" | "enabled" | "disabled" | undefined {
  if (files.text(own(unit)) === nothing) return "masked";
  if (files.get(wanted(unit))) return "enabled";
  return isThere(files, unit) ? "disabled" : undefined;
}

const running = (unit: string) => `/run/systemd/units/${unit}`;
const failed = "/run/systemd/failed";

/** A boot starts what is enabled. */
export function startEnabled(files: GuestFiles): void {
  const directory = wanted("");
  for (const path of files.below(directory.slice(0, -1))) startUnit(files, path.slice(directory.length));
}

/** RKE2 without join data tries for ever. */
export function startUnit(files: GuestFiles, unit: string): void {
  files.put(running(unit), unit.startsWith("rke2-") ? "activating" : "active");
}

export function stopUnit(files: GuestFiles, unit: string): void {
  files.remove(running(unit));
}

export function unitActivity(files: GuestFiles, unit: string): string {
  return files.get(running(unit))?.toString() ?? "inactive";
}

export function failUnit(files: GuestFiles, unit: string): void {
  files.put(`${failed}/${unit}`, "");
}

export function failedUnits(files: GuestFiles): string[] {
  return files.below(failed).map((path) => path.slice(failed.length + 1));
}

/** What the presets of the image say of a unit: without any, everything that can be enabled is. */
export function presetOf(files: GuestFiles, unit: string): "enabled" | "disabled" {
  const found = rulesOf(files).find(({ pattern }) => pattern.test(unit));
  return found?.isOn === false ? "disabled" : "enabled";
}

/** A first boot: every unit that the presets leave on is enabled. */
export function applyPresets(files: GuestFiles): void {
  for (const path of vendors.flatMap((vendor) => files.below(vendor))) {
    const unit = path.split("/").at(-1) ?? "";
    if (unitState(files, unit) === "disabled" && presetOf(files, unit) === "enabled") enableUnit(files, unit);
  }
}

function rulesOf(files: GuestFiles): { isOn: boolean; pattern: RegExp }[] {
  return files
    .below("/usr/lib/systemd/system-preset")
    .flatMap((path) => files.text(path).split("\n"))
    .flatMap((line) => {
      const [, verb, units = ""] = /^(enable|disable)\s+(\S+)\s*$/.exec(line) ?? [];
      if (verb === undefined) return [];
      const source = units.replaceAll(".", "\\.").replaceAll("*", ".*");
      return [{ isOn: verb === "enable", pattern: new RegExp(`^${source}$`) }];
    });
}

function isThere(files: GuestFiles, unit: string): boolean {
  return vendors.some((vendor) => files.get(`${vendor}/${unit}`) !== undefined);
}
