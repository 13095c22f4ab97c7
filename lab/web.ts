/**
 * The web as the lab's hosts and the guests of its bakes see it: cloud images, the archive of packages by its moments, and
 * RKE2's releases. Every file is made of its address alone, so that a definition can name its digest.
 */
import { createHash } from "node:crypto";
import type { WebFile } from "./proxmox/data-centre.ts";
import type { ImageContent } from "./types.ts";
import { kernelAt } from "./guest/packages.ts";

const MiB = 1024 ** 2;
const missing = "404 Not Found";

/** Hosts whose place the lab takes; the first one of each is its own. */
const hosts = {
  images: ["cloud-images.lab.test", "cloud-images.ubuntu.com"],
  archive: ["snapshot.lab.test", "snapshot.ubuntu.com"],
  rke2: ["rke2.lab.test", "github.com"],
};

/** Where the lab's definitions get what they are made of. */
export const labSources = {
  /** As Ubuntu has it, without a guest agent. */
  base: (serial: string) =>
    `https://cloud-images.lab.test/releases/noble/release-${serial}/ubuntu-24.04-server-cloudimg-amd64.img`,
  /** The same with a guest agent, as a site may make its own. */
  baseWithAgent: (serial: string) =>
    `https://cloud-images.lab.test/releases/noble/release-${serial}/ubuntu-24.04-server-cloudimg-amd64-agent.img`,
  snapshots: "https://snapshot.lab.test/ubuntu",
  rke2: "https://rke2.lab.test/rancher/rke2/releases/download",
};

/** What answers at an address: a file, a status, or nothing at all. */
export function labWeb(address: string): WebFile | string | undefined {
  if (!URL.canParse(address)) return undefined;
  const { hostname, pathname } = new URL(address);
  if (hosts.images.includes(hostname)) return cloudImageAt(pathname);
  if (hosts.archive.includes(hostname)) return archiveAt(pathname);
  if (hosts.rke2.includes(hostname)) return releaseAt(decodeURIComponent(pathname));
  return undefined;
}

/** A distribution's cloud image of a date: `20260725`. Nothing of ours is in it. */
function cloudImage(serial: string, hasAgent: boolean): ImageContent {
  return {
    name: `ubuntu-24.04-server-cloudimg-amd64${hasAgent ? "-agent" : ""}-${serial}`,
    rke2: "",
    kernel: kernelAt(serial),
    osImage: "Ubuntu 24.04.3 LTS",
    agent: true,
    base: { date: serial, hasAgent },
  };
}

/** Bytes of a file of a release of RKE2; undefined when the release has no such file. */
export function rke2File(version: string, file: string): Buffer | undefined {
  if (!/^v1\.\d+\.\d+(-rc\d+)?\+rke2r\d+$/.test(version)) return undefined;
  if (file === "rke2.linux-amd64.tar.gz") return Buffer.from(`rke2 ${version} for linux-amd64\n`);
  if (file === "sha256sum-amd64.txt") return Buffer.from(sums(version));
  const [, kind = "", ending] = /^rke2-images-?([a-z]*)\.linux-amd64\.(tar\.zst|tar\.gz|txt)$/.exec(file) ?? [];
  if (ending === undefined || !imageKinds.has(kind)) return undefined;
  const list = containerImages(version, kind).map((image) => `${image}\n`);
  return Buffer.from(ending === "txt" ? list.join("") : `${ending} of ${version}\n${list.join("")}`);
}

const imageKinds: ReadonlyMap<string, readonly string[]> = new Map([
  [
    "",
    ["hardened-kubernetes", "hardened-etcd", "rke2-runtime", "mirrored-pause", "hardened-coredns", "hardened-calico"],
  ],
  ["core", ["hardened-kubernetes", "hardened-etcd", "rke2-runtime", "mirrored-pause", "hardened-coredns"]],
  ["canal", ["hardened-calico", "hardened-flannel"]],
  ["calico", ["mirrored-calico-node", "mirrored-calico-typha"]],
  ["cilium", ["mirrored-cilium-cilium", "mirrored-cilium-operator"]],
  ["flannel", ["hardened-flannel"]],
  ["multus", ["hardened-multus-cni"]],
]);

/** The container images of an archive, as its list has them. */
export function containerImages(version: string, kind: string): string[] {
  const tag = version.replace("+", "-");
  return (imageKinds.get(kind) ?? []).map((name) => `docker.io/rancher/${name}:${tag}`).toSorted();
}

function sums(version: string): string {
  const files = [...imageKinds.keys()].flatMap((kind) => {
    const stem = kind === "" ? "rke2-images" : `rke2-images-${kind}`;
    return [`${stem}.linux-amd64.tar.zst`, `${stem}.linux-amd64.txt`];
  });
  return ["rke2.linux-amd64.tar.gz", ...files]
    .toSorted()
    .map((file) => `${sha256(rke2File(version, file) ?? "")}  ${file}\n`)
    .join("");
}

function cloudImageAt(path: string): WebFile | string {
  const [, serial, agent] =
    /^\/releases\/\S+\/release-(\d{8}(?:\.\d+)?)\/\S+-server-cloudimg-amd64(-agent)?\.img$/.exec(path) ?? [];
  if (serial === undefined) return missing;
  const image = cloudImage(serial, agent !== undefined);
  return {
    ...fileOf(Buffer.from(`QFI\xfb${image.name}\n`, "latin1")),
    size: 600 * MiB,
    virtualSize: 3584 * MiB,
    image,
  };
}

function archiveAt(path: string): WebFile | string {
  const [, year, month, day] = /^\/ubuntu\/(\d{4})(\d\d)(\d\d)T\d{6}Z\/dists\/\S+\/InRelease$/.exec(path) ?? [];
  const moment = Date.UTC(Number(year), Number(month) - 1, Number(day));
  // The archive of a day is there on the day after it, and its first one was of March 2023.
  const isThere = moment >= Date.UTC(2023, 2, 1) && moment <= Date.now() - 86_400_000;
  return isThere ? fileOf(Buffer.from(`Suite of ${path}\n`)) : missing;
}

function releaseAt(path: string): WebFile | string {
  const [, version = "", file = ""] = /^\/rancher\/rke2\/releases\/download\/([^/]+)\/([^/]+)$/.exec(path) ?? [];
  const data = rke2File(version, file);
  return data ? fileOf(data) : missing;
}

const sha256 = (data: Buffer | string): string => createHash("sha256").update(data).digest("hex");

function fileOf(data: Buffer): WebFile {
  const digests = Object.fromEntries(
    ["md5", "sha1", "sha512"].map((algorithm) => [algorithm, createHash(algorithm).update(data).digest("hex")]),
  );
  return { size: data.length, mimetype: "application/octet-stream", sha256: sha256(data), digests, data };
}
