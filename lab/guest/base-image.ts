/** What is on the disk of a distribution's cloud image, and what each boot makes of a disk. */
import type { ImageContent, Machine } from "../types.ts";
import type { GuestFiles } from "./files.ts";
import { hasPackage, installPackages, kernelAt } from "./packages.ts";
import { applyPresets, startEnabled, unitState } from "./units.ts";

/** Packages of the image, besides the agent. */
const packages =
  "apt base-files bash ca-certificates cloud-init coreutils dpkg libc6 needrestart openssh-server openssh-sftp-server " +
  "openssl python3 systemd systemd-timesyncd tar ubuntu-keyring unattended-upgrades util-linux";

const siteSources = `Types: deb
URIs: http://archive.ubuntu.com/ubuntu
Suites: noble noble-updates noble-security
Components: main restricted universe multiverse
Signed-By: /usr/share/keyrings/ubuntu-archive-keyring.gpg
`;

/** Writes the disk of a cloud image that has never been started. */
export function installBase(files: GuestFiles, { base, osImage }: ImageContent): void {
  if (base === undefined || files.get("/etc/os-release")) return;
  const release = [
    'NAME="Ubuntu"',
    "ID=ubuntu",
    'VERSION_ID="24.04"',
    "VERSION_CODENAME=noble",
    `PRETTY_NAME="${osImage}"`,
  ];
  const kernel = kernelAt(base.date);
  const content: Record<string, string> = {
    "/etc/os-release": `${release.join("\n")}\n`,
    "/etc/machine-id": "",
    "/etc/hostname": "ubuntu\n",
    "/etc/fstab": "LABEL=cloudimg-rootfs\t/\text4\tdiscard,commit=30,errors=remount-ro\t0 1\n",
    "/etc/passwd": "root:x:0:0:root:/root:/bin/bash\nsshd:x:110:65534::/run/sshd:/usr/sbin/nologin\n",
    "/etc/shadow": "root:*:20000:0:99999:7:::\nsshd:!:20000::::::\n",
    "/etc/apt/sources.list.d/ubuntu.sources": siteSources,
    [`/boot/vmlinuz-${kernel}`]: `kernel ${kernel}\n`,
  };
  for (const [path, text] of Object.entries(content)) files.put(path, text);
  const agent = base.hasAgent ? ["qemu-guest-agent"] : [];
  installPackages(files, [...packages.split(" "), ...agent], base.date);
}

/** The kernel that a boot takes: the newest one on the disk. */
export function newestKernel(disk: Iterable<string>): string | undefined {
  const number = (kernel: string) => Number(/-(\d+)-/.exec(kernel)?.[1] ?? 0);
  return [...disk]
    .flatMap((path) => /^\/boot\/vmlinuz-(.+)$/.exec(path)?.[1] ?? [])
    .toSorted((a, b) => number(a) - number(b))
    .at(-1);
}

export const hasAgent = (files: GuestFiles): boolean => hasPackage(files, "qemu-guest-agent");

/** What systemd does first: an empty machine id becomes the VM's uuid, and the word makes this boot a first one. */
export function startSystem(files: GuestFiles, { uuid }: Pick<Machine, "uuid">): void {
  const id = files.text("/etc/machine-id").trim();
  if (id === "uninitialized") applyPresets(files);
  startEnabled(files);
  if (id === "" || id === "uninitialized") files.put("/etc/machine-id", `${uuid.replaceAll("-", "").toLowerCase()}\n`);
  const own = files.text("/etc/machine-id").trim();
  files.put(`/var/log/journal/${own}/system.journal`, "the journal of this machine\n");
  files.put("/var/lib/systemd/random-seed", "random\n");
}

/** What cloud-init does once for an instance. @returns whether it has not seen that one before */
export function beginInstance(files: GuestFiles, instance: string, hostname: string, userData: string): boolean {
  const directory = `/var/lib/cloud/instances/${instance}`;
  const isNew = files.get(`${directory}/boot-finished`) === undefined;
  files.put("/run/cloud-init/status.json", '{"v1": {"init": {"errors": [], "recoverable_errors": {}}}}\n');
  files.put("/etc/netplan/50-cloud-init.yaml", "network: { version: 2 }\n");
  if (!isNew) return false;
  files.put(`${directory}/boot-finished`, `${instance}\n`);
  files.put(`${directory}/user-data.txt`, userData);
  files.put("/etc/hostname", `${hostname}\n`);
  files.put("/var/log/cloud-init.log", `instance ${instance}\n`);
  // Keys that were there are those of another instance.
  files.remove("/etc/ssh/ssh_host_ed25519_key");
  if (files.get("/usr/sbin/sshd")) files.put("/etc/ssh/ssh_host_ed25519_key", `a key of ${instance}\n`);
  return true;
}

/** Whether the units through which steps and guest communicate are there. */
export const hasJoinUnit = (files: GuestFiles): boolean => unitState(files, "evergreen-join.path") === "enabled";
