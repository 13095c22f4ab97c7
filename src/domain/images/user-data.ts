/**
 * The seed of a bake: what cloud-init reads from its CD. The same definition, shell and sources give the same text, byte
 * by byte.
 */
import { createHash } from "node:crypto";
import { stringify } from "yaml";
import { parseVersion } from "../versions/versions.ts";
import {
  PACKAGES_OF_EVERY_IMAGE,
  templateNameOf,
  type ImageDefinition,
  type ImageFile,
  type ImageSource,
} from "./definition.ts";
import { BAKE_DIRECTORY, commandOf, STAGES, type Kind } from "./stages.ts";

/** From where a bake gets what it downloads. */
export interface BakeSources {
  /** The service of snapshots: `https://snapshot.ubuntu.com/ubuntu`. The definition's date is a folder of it. */
  snapshots: string;
  /** Armored OpenPGP key of a mirror that signs by itself; the distribution's own keys by default. */
  snapshotKey?: string;
  /** Folder of RKE2's releases: `https://github.com/rancher/rke2/releases/download`. The version is a folder of it. */
  rke2: string;
}

export const PUBLIC_SOURCES: BakeSources = {
  snapshots: "https://snapshot.ubuntu.com/ubuntu",
  rke2: "https://github.com/rancher/rke2/releases/download",
};

/** A bake, with all bytes that it brings into the guest. */
export interface Bake extends ImageSource {
  sources: BakeSources;
  /** Files of images/bake/ by their path in it. */
  shell: ReadonlyMap<string, Uint8Array>;
}

/** What would use apt by itself: masked before the first of them starts, and in the image. */
export const MASKED_UNITS = [
  "apt-daily.timer",
  "apt-daily.service",
  "apt-daily-upgrade.timer",
  "apt-daily-upgrade.service",
  "unattended-upgrades.service",
] as const;

/** Succeeds in a guest without an agent. */
const NO_AGENT = "test ! -x /usr/sbin/qemu-ga";

/** What the images promise beyond the first ones, in `units` of `image.json` (images/contract.ts). */
const PROMISED_UNITS = ["registries"];

/** The first patch of each minor version that keeps images pinned beside its import cache (k3s-io/k3s#14265, #14284). */
const SOUND_IMPORT_CACHE: ReadonlyMap<number, number> = new Map([
  [33, 14],
  [34, 10],
  [35, 7],
  [36, 3],
]);

/** @throws Error when the bytes of a file are missing or are others than the definition names */
export function userData(bake: Bake): string {
  const { definition } = bake;
  const config = {
    // Nobody logs in during a bake.
    users: [],
    ssh_pwauth: false,
    disable_root: true,
    apt: { preserve_sources_list: true },
    package_update: false,
    package_upgrade: false,
    bootcmd: [["systemctl", "mask", ...MASKED_UNITS]],
    write_files: [
      ...[...bake.shell]
        .toSorted(([a], [b]) => (a < b ? -1 : 1))
        .map(([path, bytes]) => fileOf(path, bytes, path.endsWith(".sh") ? "0755" : "0644")),
      ...[...settingFiles(bake)].map(([path, text]) => fileOf(path, new TextEncoder().encode(text), "0644")),
      ...definition.files
        .toSorted((a, b) => (a.path < b.path ? -1 : 1))
        .map((file) => fileOf(`files${file.path}`, bytesOf(file, bake), file.mode)),
      ...definition.scripts.map((script, index) =>
        fileOf(`scripts/${String(index).padStart(3, "0")}-${script.path}`, bytesOf(script, bake), "0755"),
      ),
    ],
    runcmd: [commandOf("bake")],
    // Nobody hears of a guest that fails before its agent is there: it turns itself off, which can be seen.
    power_state: { mode: "poweroff", condition: NO_AGENT },
  };
  return `#cloud-config\n${stringify(config, { lineWidth: 0 })}`;
}

/** @param instance names the bake: a guest that has seen it before does not bake again */
export function metaData(instance: string, hostname: string): string {
  return stringify({ "instance-id": instance, "local-hostname": hostname });
}

/** The network card as Proxmox describes it to cloud-init: version 1, by its MAC address. */
export interface Network {
  /** `bc:24:11:00:00:01` */
  mac: string;
  /** `10.20.0.9/24` with gateway and name servers; without it the guest asks for an address by DHCP. */
  address?: { cidr: string; gateway: string; nameservers: readonly string[] };
}

export function networkConfig({ mac, address }: Network): string {
  const subnet = address
    ? { type: "static", address: address.cidr, gateway: address.gateway, dns_nameservers: [...address.nameservers] }
    : { type: "dhcp4" };
  const card = { type: "physical", name: "eth0", mac_address: mac.toLowerCase(), subnets: [subnet] };
  return stringify({ version: 1, config: [card] });
}

/** Whether RKE2 may remember what it has imported: earlier releases then take the pins off the images at each start. */
export function hasSoundImportCache(version: string): boolean {
  const own = parseVersion(version);
  if (own === undefined) return false;
  const first = SOUND_IMPORT_CACHE.get(own.minor);
  return first === undefined ? own.minor > Math.max(...SOUND_IMPORT_CACHE.keys()) : own.patch >= first;
}

/** Lists and settings that the stages read. Everything that a shell reads is quoted. */
function settingFiles({ definition, sources }: Bake): Map<string, string> {
  const { archiveDate, rke2, kernel } = definition;
  const settings = {
    ARCHIVE: `${sources.snapshots}/${archiveDate}`,
    ARCHIVE_DAY: String(dayOf(archiveDate)),
    RKE2_ARTEFACTS: `${sources.rke2}/${encodeURIComponent(rke2.version)}`,
    RKE2_VERSION: rke2.version,
    HARDENING: definition.hardening,
    SSH: definition.ssh ? "yes" : "no",
    IMPORT_CACHE: hasSoundImportCache(rke2.version) ? "yes" : "no",
  };
  const packages = [...new Set([...PACKAGES_OF_EVERY_IMAGE, ...definition.packages])].toSorted();
  const stages = (kind: Kind) => STAGES[kind].map(({ name, seconds }) => `${name} ${seconds}`);
  return new Map([
    ["settings", lines(Object.entries(settings).map(([name, value]) => `${name}=${quoted(value)}`))],
    ["lists/stages.bake", lines(stages("bake"))],
    ["lists/stages.seal", lines(stages("seal"))],
    ["lists/masked", lines(MASKED_UNITS)],
    ["lists/packages", lines(packages)],
    ["lists/hold", lines(definition.hold.toSorted())],
    ["lists/artefacts", lines(rke2.artefacts.map(({ file, sha256 }) => `${sha256} ${file}`).toSorted())],
    ["lists/modules", lines(kernel.modules.toSorted())],
    ["lists/services-enabled", lines(definition.services.enable.toSorted())],
    ["lists/services-masked", lines(definition.services.mask.toSorted())],
    ["lists/kernel-parameters", lines(kernel.parameters)],
    [
      "lists/sysctl",
      lines(
        Object.entries(definition.sysctl)
          .map(([name, value]) => `${name} = ${value}`)
          .toSorted(),
      ),
    ],
    ["image.json", imageJson(definition)],
    ...(sources.snapshotKey === undefined ? [] : [["archive-key.asc", sources.snapshotKey] as const]),
  ]);
}

/** What the image says of itself (images/contract.ts); only the guest knows its kernel. */
function imageJson(definition: ImageDefinition): string {
  const facts = {
    image: templateNameOf(definition),
    rke2: definition.rke2.version,
    kernel: "@KERNEL@",
    units: PROMISED_UNITS,
  };
  return `${JSON.stringify(facts, null, 2)}\n`;
}

function fileOf(path: string, bytes: Uint8Array, permissions: string): Record<string, string> {
  const at = { path: `${BAKE_DIRECTORY}/${path}`, permissions };
  const text = textOf(bytes);
  if (text !== undefined) return { ...at, content: text };
  return { ...at, encoding: "b64", content: Buffer.from(bytes).toString("base64") };
}

/**
 * The bytes as a text that every reader of YAML takes for the same text; undefined when they are none. Of one line alone
 * that is no matter of course: `yes` and `2026-08-01` are texts for ours, and not for cloud-init's.
 */
function textOf(bytes: Uint8Array): string | undefined {
  const text = new TextDecoder().decode(bytes);
  return /^[\t\n\x20-\x7e]*\n[\t\n\x20-\x7e]*$/.test(text) ? text : undefined;
}

function bytesOf({ path, sha256 }: ImageFile, { contents }: Bake): Uint8Array {
  const bytes = contents.get(sha256);
  if (bytes === undefined) throw new Error(`the bytes of ${path} are missing`);
  if (createHash("sha256").update(bytes).digest("hex") !== sha256)
    throw new Error(`the bytes of ${path} are not those that the definition names`);
  return bytes;
}

/** Days between 1970 and the date of an archive, `20260801T000000Z`: as /etc/shadow counts. */
function dayOf(archiveDate: string): number {
  const [, year, month, day] = /^(\d{4})(\d\d)(\d\d)T\d{6}Z$/.exec(archiveDate) ?? [];
  if (day === undefined) throw new Error(`not the date of an archive: ${archiveDate}`);
  return Date.UTC(Number(year), Number(month) - 1, Number(day)) / 86_400_000;
}

/** A word of the shell that is nothing but this text. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** Entries that a shell reads line by line. */
function lines(entries: readonly string[]): string {
  const odd = entries.find((entry) => entry.includes("\n"));
  if (odd !== undefined) throw new Error(`an entry of more than one line: ${JSON.stringify(odd)}`);
  return entries.map((entry) => `${entry}\n`).join("");
}
