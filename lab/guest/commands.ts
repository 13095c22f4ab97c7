/** The commands that a guest knows: those that the program and its checks of images run, by their whole texts. */
import { createHash } from "node:crypto";
import type { Exit } from "./agent-exec.ts";
import { changes } from "./changes.ts";
import type { GuestFiles } from "./files.ts";
import { findEntries } from "./find.ts";
import { heldPackages, installedPackages } from "./packages.ts";
import { failedUnits, nothing, presetOf, unitActivity, unitState } from "./units.ts";

/** What commands act on. */
export interface CommandHost {
  files: GuestFiles;
  /** The kernel that runs. */
  kernel: string;
}

type Run = (host: CommandHost, words: string[]) => string | Exit;

/** What a command prints, by its whole text. A group of the expression is a word. */
const commands: readonly [RegExp, Run][] = [
  [/^(?:true|:)$/, () => ""],
  [/^sleep \d+$/, () => ""],
  [/^exit (\d+)$/, (_, [code]) => ({ code: Number(code) })],
  [/^echo ([^>]*)$/, (_, [text = ""]) => `${text}\n`],
  [/^cloud-init status --wait [^;]*; systemctl is-system-running --wait [^;]*; exit 0$/, () => ""],
  [/^uname -r$/, ({ kernel }) => `${kernel}\n`],
  [/^cat (\/\S+)$/, ({ files }, [path = ""]) => read(files, path, "cat: ")],
  [/^test -f (\/\S+)$|^\[ -f (\/\S+) \]$/, ({ files }, words) => ({ code: files.get(words.join("")) ? 0 : 1 })],
  [/^command -v (\S+)$/, ({ files }, [name = ""]) => whereIs(files, name)],
  [/^find (.+?) 2>\/dev\/null \| sort$/, ({ files }, [words = ""]) => find(files, words)],
  [/^grep -c '(.+)' (\/\S+)$/, ({ files }, [pattern = "", path = ""]) => count(files, pattern, path)],
  [/^systemctl is-enabled (.+?)( \|\| :)?$/, ({ files }, [units = "", any]) => states(files, units, any !== undefined)],
  [
    /^systemctl is-active (.+?)( \|\| :)?$/,
    ({ files }, [units = "", any]) => activity(files, units, any !== undefined),
  ],
  [
    /^systemctl list-unit-files --no-legend --plain (.+) \| awk '\{ print \$3 \}'$/,
    ({ files }, [units = ""]) => lines(wordsOf(units).map((unit) => presetOf(files, unit))),
  ],
  [
    /^systemctl list-units --failed --no-legend --plain \| awk '\{ print \$1 \}'$/,
    ({ files }) => lines(failedUnits(files)),
  ],
  [/^stat -c '%a %U %G' (\/\S+)$/, ({ files }, [path = ""]) => `${modeOf(files, path)} root root\n`],
  [/^apt-mark showhold(?: \| sort)?$/, ({ files }) => lines(heldPackages(files))],
  [/^dpkg --get-selections \| awk '\$2 == "hold" \{ print \$1 \}'$/, ({ files }) => lines(heldPackages(files))],
  [/^dpkg-query -W(?: -f '[^']*')?$/, ({ files }) => listPackages(files)],
  [/^apt-config dump \| grep -i '\^(\S+) '$/, ({ files }, [name = ""]) => aptSetting(files, name)],
  [/^sysctl -n (.+)$/, ({ files }, [names = ""]) => kernelSettings(files, wordsOf(names))],
  [/^\/usr\/local\/bin\/rke2 --version \| awk 'NR == 1 \{ print \$3 \}'$/, ({ files }) => `${rke2Version(files)}\n`],
  [/^getent passwd (\S+) \| cut -d : -f 1,7$/, ({ files }, [name = ""]) => account(files, name)],
  [/^awk -F : '\$2 !~ \/\^\[!\*\]\/ \{ print \$1 \}' \/etc\/shadow$/, ({ files }) => lines(openAccounts(files))],
  [
    /^du -sk --exclude=journal \/var\/log \| awk '\$1 > (\d+) \{ print \$1 \}'$/,
    ({ files }, [most]) => large(files, Number(most)),
  ],
  [/^swapon --show=NAME --noheadings; awk .* \/etc\/fstab$/, ({ files }) => lines(swaps(files))],
  [
    /^python3 -c '\s*import json\s[^]*\/run\/cloud-init\/status\.json[^]*'$/,
    ({ files }) => lines(cloudInitErrors(files)),
  ],
  [
    /^\[ "\$\(sed -n .* \/etc\/evergreen\/image\.json\)" = "\$\(uname -r\)" \] \|\| uname -r$/,
    (host) => (imageSays(host.files, "kernel") === host.kernel ? "" : `${host.kernel}\n`),
  ],
  [
    /^sed -n '.*image\\\|rke2.*' \/etc\/evergreen\/image\.json$/,
    ({ files }) => lines([imageSays(files, "image"), imageSays(files, "rke2")]),
  ],
  [
    /^for name in (.+); do \[ -d "\/sys\/module\/.* done$/,
    ({ files }, [names = ""]) => lines(missingModules(files, wordsOf(names))),
  ],
  [/^(?:\/usr\/lib\/evergreen\/)measure (\/\S+)$/, ({ files }, [directory = ""]) => measure(files, directory)],
];

const changed = changes.map(([pattern, change]): [RegExp, Run] => [
  pattern,
  ({ files }, words) => change(files, words),
]);

/** @returns undefined when the guest has no such command */
export function runCommand(host: CommandHost, text: string): Exit | undefined {
  const plain = text.trim().replace(/^(?:\/usr)?\/s?bin\//, "");
  for (const [pattern, run] of [...commands, ...changed]) {
    const found = pattern.exec(plain);
    if (!found) continue;
    const printed = run(host, found.slice(1));
    return typeof printed === "string" ? { code: 0, out: printed } : printed;
  }
  return undefined;
}

const lines = (entries: readonly string[]): string => entries.map((entry) => `${entry}\n`).join("");
const linesOf = (text: string): string[] => text.split("\n").filter((line) => line !== "");
const wordsOf = (text: string): string[] =>
  text
    .split(/\s+/)
    .filter(Boolean)
    .map((word) => word.replace(/^'(.*)'$/, "$1"));
const sha256 = (content: Buffer | string): string => createHash("sha256").update(content).digest("hex");

function read(files: GuestFiles, path: string, who: string): string | Exit {
  const content = files.get(path);
  return content?.toString() ?? { code: 1, err: `${who}${path}: No such file or directory\n` };
}

function whereIs(files: GuestFiles, name: string): Exit {
  const path = ["/usr/local/bin", "/usr/bin", "/usr/sbin"].map((one) => `${one}/${name}`).find((one) => files.get(one));
  return path === undefined ? { code: 127 } : { code: 0, out: `${path}\n` };
}

function find(files: GuestFiles, words: string): string | Exit {
  const found = findEntries(files, wordsOf(words));
  return found === undefined ? { code: 1, err: `find: unknown predicate in ${words}\n` } : lines(found);
}

function count(files: GuestFiles, pattern: string, path: string): Exit {
  const content = files.get(path);
  if (!content) return { code: 2, err: `grep: ${path}: No such file or directory\n` };
  const number = linesOf(content.toString()).filter((line) => new RegExp(pattern).test(line)).length;
  return { code: number > 0 ? 0 : 1, out: `${number}\n` };
}

function states(files: GuestFiles, units: string, any: boolean): Exit {
  const found = wordsOf(units).map((unit) => unitState(files, unit) ?? "not-found");
  return { code: any || found.every((state) => state === "enabled") ? 0 : 1, out: lines(found) };
}

function activity(files: GuestFiles, units: string, any: boolean): Exit {
  const found = wordsOf(units).map((unit) => unitActivity(files, unit));
  return { code: any || found.every((state) => state === "active") ? 0 : 3, out: lines(found) };
}

/** Octal digits: as the image's stages leave directories, otherwise the usual ones. */
function modeOf(files: GuestFiles, path: string): string {
  return files.text(`/var/lib/modes${path}`).trim() || "755";
}

function listPackages(files: GuestFiles): string {
  return lines(
    installedPackages(files).map(({ name, version, architecture }) => `${name}\t${version}\t${architecture}`),
  );
}

function aptSetting(files: GuestFiles, name: string): Exit {
  const found = files
    .below("/etc/apt/apt.conf.d")
    .flatMap((path) => linesOf(files.text(path)))
    .filter((line) => line.toLowerCase().startsWith(`${name.toLowerCase()} `));
  return { code: found.length > 0 ? 0 : 1, out: lines(found) };
}

/** As the files of sysctl.d set them, in the order of their names. */
function kernelSettings(files: GuestFiles, names: readonly string[]): Exit {
  const set = new Map(
    files
      .below("/etc/sysctl.d")
      .flatMap((path) => linesOf(files.text(path)))
      .map((line) => line.split("=").map((part) => part.trim()) as [string, string]),
  );
  for (const path of files.below("/run/sysctl")) set.set(path.slice("/run/sysctl/".length), files.text(path).trim());
  const missing = names.find((name) => !set.has(name));
  const out = lines(names.flatMap((name) => set.get(name) ?? []));
  if (missing === undefined) return { code: 0, out };
  return {
    code: 255,
    out,
    err: `sysctl: cannot stat /proc/sys/${missing.replaceAll(".", "/")}: No such file or directory\n`,
  };
}

function rke2Version(files: GuestFiles): string {
  return /^rke2 version (\S+)/m.exec(files.text("/usr/local/bin/rke2"))?.[1] ?? "";
}

function account(files: GuestFiles, name: string): string {
  const found = linesOf(files.text("/etc/passwd")).find((line) => line.startsWith(`${name}:`));
  const fields = found?.split(":") ?? [];
  return found === undefined ? "" : `${fields[0] ?? ""}:${fields[6] ?? ""}\n`;
}

/** Accounts that a password, or none, opens. */
function openAccounts(files: GuestFiles): string[] {
  return linesOf(files.text("/etc/shadow"))
    .map((line) => line.split(":"))
    .filter(([, password = ""]) => !/^[!*]/.test(password))
    .map(([name = ""]) => name);
}

function large(files: GuestFiles, most: number): string {
  const bytes = files
    .below("/var/log")
    .filter((path) => !path.startsWith("/var/log/journal/"))
    .reduce((sum, path) => sum + (files.get(path)?.length ?? 0), 0);
  const size = Math.ceil(bytes / 1024);
  return size > most ? `${size}\n` : "";
}

function swaps(files: GuestFiles): string[] {
  return linesOf(files.text("/etc/fstab")).filter((line) => !line.startsWith("#") && line.split(/\s+/)[2] === "swap");
}

function cloudInitErrors(files: GuestFiles): string[] {
  type Found = { errors?: string[]; recoverable_errors?: Record<string, string[]> };
  const { v1 } = JSON.parse(files.text("/run/cloud-init/status.json")) as { v1: Record<string, Found> };
  return Object.entries(v1).flatMap(([name, { errors = [], recoverable_errors: passed = {} }]) =>
    [...errors, ...Object.keys(passed)].map((found) => `${name} ${found}`),
  );
}

function imageSays(files: GuestFiles, key: string): string {
  return new RegExp(`"${key}": "(.*)"`).exec(files.text("/etc/evergreen/image.json"))?.[1] ?? "";
}

function missingModules(files: GuestFiles, names: readonly string[]): string[] {
  const loaded = files.below("/etc/modules-load.d").flatMap((path) => linesOf(files.text(path)));
  return names.filter((name) => !loaded.includes(name) || files.get(`/run/modules-removed/${name}`) !== undefined);
}

/** Writes the lists of packages and protected files, as images/bake/guest/measure.sh does. @returns their digests */
export function measure(files: GuestFiles, directory: string): string {
  const unprotected = linesOf(files.text("/usr/lib/evergreen/unprotected")).map((line) => new RegExp(line));
  const sums = ["/boot", "/etc", "/usr"]
    .flatMap((root) => files.below(root))
    .filter((path) => !unprotected.some((pattern) => pattern.test(path.slice(1))))
    .filter((path) => files.text(path) !== nothing)
    .toSorted()
    .map((path) => `${sha256(files.get(path) ?? "")}  ${path.slice(1)}`);
  const lists = { packages: listPackages(files), files: lines(sums) };
  for (const [name, text] of Object.entries(lists)) files.put(`${directory}/${name}`, text);
  return `{"packages":"${sha256(lists.packages)}","files":"${sha256(lists.files)}"}\n`;
}
