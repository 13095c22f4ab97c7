/** Packages of Debian's kind: what a guest has, and what an archive has at a moment. */
import { createHash } from "node:crypto";
import type { GuestFiles } from "./files.ts";

export interface DebianPackage {
  name: string;
  version: string;
  architecture: string;
}

const list = "/var/lib/dpkg/status";

/** In the order of their names. */
export function installedPackages(files: GuestFiles): DebianPackage[] {
  return stanzas(files).map((fields) => ({
    name: fields.get("Package") ?? "",
    version: fields.get("Version") ?? "",
    architecture: fields.get("Architecture") ?? "",
  }));
}

export function hasPackage(files: GuestFiles, name: string): boolean {
  return installedPackages(files).some((one) => one.name === name);
}

export function heldPackages(files: GuestFiles): string[] {
  return stanzas(files).flatMap((fields) =>
    fields.get("Status")?.startsWith("hold ") ? [fields.get("Package") ?? ""] : [],
  );
}

export function holdPackage(files: GuestFiles, name: string): void {
  write(
    files,
    stanzas(files).map((fields) =>
      fields.get("Package") === name ? new Map([...fields, ["Status", "hold ok installed"]]) : fields,
    ),
  );
}

/** Installs packages as they are in the archive of a date, or replaces those that are older. A held one stays. */
export function installPackages(files: GuestFiles, names: readonly string[], date: string): void {
  const held = new Set(heldPackages(files));
  const kept = stanzas(files).filter((fields) => {
    const name = fields.get("Package") ?? "";
    return held.has(name) || !names.includes(name);
  });
  const fresh = names.filter((name) => !held.has(name)).map((name) => stanzaOf(packageAt(name, date)));
  write(files, [...kept, ...fresh]);
  for (const name of names) files.put(programOf(name), `${name} ${packageAt(name, date).version}\n`);
}

export function removePackages(files: GuestFiles, names: readonly string[]): void {
  write(
    files,
    stanzas(files).filter((fields) => !names.includes(fields.get("Package") ?? "")),
  );
  for (const name of names) files.remove(programOf(name));
}

/** Names in an archive that nobody has put a package of: an archive knows all others. */
export const isUnknown = (name: string): boolean => name.startsWith("no-such-");

/**
 * A package as an archive has it. Its version grows with the date, every few weeks, at times of its own.
 * @param date `20260801T000000Z`, or a day
 */
export function packageAt(name: string, date: string): DebianPackage {
  const random = createHash("sha256").update(name).digest();
  const day = dayOf(date);
  const [period, shift] = [20 + ((random[0] ?? 0) % 60), (random[1] ?? 0) % 60];
  const revision = Math.max(0, Math.floor((day - 20_000 + shift) / period));
  const upstream = `${1 + ((random[2] ?? 0) % 9)}.${(random[3] ?? 0) % 30}`;
  return {
    name,
    version: `${upstream}-0ubuntu${revision}`,
    architecture: (random[4] ?? 0) % 4 === 0 ? "all" : "amd64",
  };
}

/** The kernel of a date, as `uname -r` prints it. */
export function kernelAt(date: string): string {
  return `6.8.0-${60 + Math.max(0, Math.floor((dayOf(date) - 20_600) / 21))}-generic`;
}

/** Days since 1970. */
function dayOf(date: string): number {
  const [, year, month, day] = /^(\d{4})(\d\d)(\d\d)/.exec(date) ?? [];
  return Date.UTC(Number(year), Number(month) - 1, Number(day)) / 86_400_000;
}

/** What a package puts on the disk: one program. */
const programOf = (name: string): string => (name === "openssh-server" ? "/usr/sbin/sshd" : `/usr/bin/${name}`);

function stanzaOf({ name, version, architecture }: DebianPackage): Map<string, string> {
  return new Map([
    ["Package", name],
    ["Status", "install ok installed"],
    ["Architecture", architecture],
    ["Version", version],
  ]);
}

function stanzas(files: GuestFiles): Map<string, string>[] {
  return files
    .text(list)
    .split("\n\n")
    .filter((stanza) => stanza.trim() !== "")
    .map(
      (stanza) =>
        new Map(
          stanza
            .trim()
            .split("\n")
            .map((line) => line.split(": ") as [string, string]),
        ),
    );
}

function write(files: GuestFiles, all: readonly Map<string, string>[]): void {
  const sorted = all.toSorted((a, b) => ((a.get("Package") ?? "") < (b.get("Package") ?? "") ? -1 : 1));
  const text = sorted.map((fields) => [...fields].map(([key, value]) => `${key}: ${value}\n`).join("")).join("\n");
  files.put(list, text);
}
