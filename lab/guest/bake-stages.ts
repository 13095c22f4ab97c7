/** The stages of a bake (images/bake/stages/bake): what each one leaves on the disk of the guest. */
import { createHash } from "node:crypto";
import { containerImages } from "../web.ts";
import { newestKernel } from "./base-image.ts";
import { holdPackage, installedPackages, installPackages, isUnknown, kernelAt, removePackages } from "./packages.ts";
import { bakeDirectory, download, entries, refuse, setting, StageFailed, type Stage, type StageRun } from "./stage.ts";
import { disableUnit, enableUnit, maskUnit } from "./units.ts";

/** What the stages call themselves, besides the definition's packages. */
const ownPackages = "iptables nftables open-iscsi nfs-common systemd-timesyncd zstd";
const sshPackages = ["openssh-server", "openssh-sftp-server"];
const recordImages = "/var/lib/evergreen/record/images";
const store = "/var/lib/evergreen-bake";

const lines = (list: readonly string[]): string => list.map((line) => `${line}\n`).join("");
const sha256 = (data: Buffer | string): string => createHash("sha256").update(data).digest("hex");

/** Copies what the seed brought to a place on the disk. */
function copy({ files }: StageRun, from: string, to: string): void {
  const content = files.get(`${bakeDirectory}/${from}`);
  if (content === undefined)
    throw new StageFailed(`install ${bakeDirectory}/${from} ${to}`, 1, [
      `install: cannot stat '${bakeDirectory}/${from}'`,
    ]);
  files.put(to, content);
}

const namesIn = ({ files }: StageRun, directory: string): string[] =>
  files.below(`${bakeDirectory}/${directory}`).map((path) => path.slice(`${bakeDirectory}/${directory}/`.length));

/** `20260801T000000Z` */
const archiveDate = (run: StageRun): string => setting(run, "ARCHIVE").split("/").at(-1) ?? "";

const quiet: Stage = (run) => {
  for (const unit of entries(run, "masked")) maskUnit(run.files, unit);
  return [`+ systemctl mask ${entries(run, "masked").join(" ")}`];
};

const archive: Stage = (run) => {
  const { files, web, hasNetwork } = run;
  const sources = "/etc/apt/sources.list.d";
  for (const path of files.below(sources)) {
    files.put(`${bakeDirectory}/site-sources/sources.list.d/${path.split("/").at(-1) ?? ""}`, files.text(path));
    files.remove(path);
  }
  const uri = setting(run, "ARCHIVE");
  files.put(`${sources}/evergreen-bake.sources`, `Types: deb\nURIs: ${uri}\n`);
  files.put(
    "/etc/apt/apt.conf.d/90-evergreen",
    'APT::Get::Never-Include-Phased-Updates "true";\nAPT::Periodic::Enable "0";\n',
  );
  files.put("/etc/apt/apt.conf.d/91-evergreen-bake", 'APT::Update::Error-Mode "any";\n');
  const answer = hasNetwork ? web(`${uri}/dists/noble/InRelease`) : undefined;
  if (typeof answer === "object") {
    files.put("/var/lib/apt/lists/noble_InRelease", answer.data ?? "");
    return ["+ apt update", `Get:1 ${uri} noble InRelease`, "Reading package lists..."];
  }
  const why = answer === undefined ? "Could not connect" : answer.replace("404 ", "404  ");
  throw new StageFailed("apt-get -q -y -o DPkg::Lock::Timeout=300 update", 100, [
    `Err:1 ${uri} noble Release`,
    `  ${why}`,
    `E: The repository '${uri} noble Release' does not have a Release file.`,
  ]);
};

const packages: Stage = (run) => {
  const { files } = run;
  const date = archiveDate(run);
  const wanted = [...ownPackages.split(" "), ...entries(run, "packages")];
  const unknown = wanted.find(isUnknown);
  if (unknown !== undefined)
    throw new StageFailed(`apt-get -q -y install ${wanted.join(" ")}`, 100, [`E: Unable to locate package ${unknown}`]);
  installPackages(files, [...installedPackages(files).map(({ name }) => name), ...wanted], date);
  const kernel = kernelAt(date);
  files.put(`/boot/vmlinuz-${kernel}`, `kernel ${kernel}\n`);
  files.put("/var/cache/apt/archives/htop.deb", "a package\n");
  for (const name of entries(run, "hold")) holdPackage(files, name);
  return ["+ apt upgrade --with-new-pkgs", `+ apt install ${wanted.join(" ")}`];
};

const placeFiles: Stage = (run) => {
  for (const name of namesIn(run, "files")) {
    const isSource = /^etc\/apt\/sources\.list(\.d\/|$)/.test(name);
    copy(
      run,
      `files/${name}`,
      isSource ? `${bakeDirectory}/site-sources/${name.slice("etc/apt/".length)}` : `/${name}`,
    );
  }
  return [];
};

const system: Stage = (run) => {
  const { files } = run;
  files.put("/etc/fstab", files.text("/etc/fstab").replace(/^([^#\n].*\sswap\s.*)$/gm, "# $1"));
  maskUnit(files, "swap.target");
  enableUnit(files, "systemd-timesyncd.service");
  files.put(
    "/etc/needrestart/conf.d/90-evergreen.conf",
    "$nrconf{restart} = 'l';\n$nrconf{override_rc}{qr(^rke2-)} = 0;\n",
  );
  files.put("/etc/modules-load.d/90-evergreen.conf", lines(entries(run, "modules")));
  files.put("/etc/sysctl.d/90-evergreen.conf", lines(entries(run, "sysctl")));
  const parameters = entries(run, "kernel-parameters");
  if (parameters.length > 0)
    files.put(
      "/etc/default/grub.d/90-evergreen.cfg",
      `GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX ${parameters.join(" ")}"\n`,
    );
  if (setting(run, "SSH") === "no") removePackages(files, sshPackages);
  files.remove("/etc/ssh/ssh_host_ed25519_key");
  files.put("/etc/cloud/cloud.cfg.d/90-evergreen.cfg", "apt: { preserve_sources_list: true }\n");
  return [];
};

const rke2: Stage = (run) => {
  const { files } = run;
  const version = setting(run, "RKE2_VERSION");
  const from = setting(run, "RKE2_ARTEFACTS");
  const artefacts = entries(run, "artefacts").map((line) => line.split(" ") as [string, string]);
  for (const [sum, file] of artefacts) {
    const data = download(run, `${from}/${file}`, `${store}/${file}`);
    if (sha256(data) !== sum) throw refuse(`${file} is not the one of the definition: SHA-256 ${sha256(data)}  -`);
    files.put(`${store}/${file}`, data);
  }
  for (const [, file] of artefacts) {
    const kind = /^rke2-images-?([a-z]*)\.linux-amd64\.tar\./.exec(file)?.[1];
    if (kind === undefined) continue;
    const list = file.replace(/\.tar\.\w+$/, ".txt");
    takeList(run, `${from}/${list}`, list);
    const listed = files.text(`${store}/${list}`);
    if (listed !== lines(containerImages(version, kind))) throw refuse(`${file} does not hold the images of its list`);
    files.put(`${bakeDirectory}/images`, files.text(`${bakeDirectory}/images`) + listed);
  }
  unpack(run, version);
  return [`rke2 version ${version} (lab)`];
};

/** A list that the definition does not name has its digest in the release's sums. */
function takeList(run: StageRun, url: string, list: string): void {
  const { files } = run;
  if (files.get(`${store}/${list}`)) return;
  const data = download(run, url, `${store}/${list}`);
  const sums = files.below(store).filter((path) => /\/sha256sum-[^/]*\.txt$/.test(path));
  if (!sums.some((path) => files.text(path).includes(`${sha256(data)}  ${list}\n`)))
    throw refuse(`${list} is neither in the definition nor as the release's sums have it`);
  files.put(`${store}/${list}`, data);
}

function unpack({ files }: StageRun, version: string): void {
  const archives = files.below(store).filter((path) => path.endsWith("/rke2.linux-amd64.tar.gz"));
  if (archives.length === 0)
    throw new StageFailed("/usr/local/bin/rke2 --version", 127, ["sh: 1: /usr/local/bin/rke2: not found"]);
  const own = files.text(archives[0] ?? "");
  if (!own.includes(version)) throw refuse(`RKE2 says that it is: ${own.trim()}`);
  files.put("/usr/local/bin/rke2", `rke2 version ${version} (lab)\n`);
  files.put("/usr/local/bin/rke2-killall.sh", `#!/bin/sh\n# of ${version}\n`);
  for (const role of ["server", "agent"])
    files.put(
      `/usr/local/lib/systemd/system/rke2-${role}.service`,
      `[Service]\nExecStart=/usr/local/bin/rke2 ${role}\n`,
    );
  const cis = { "vm.panic_on_oom": 0, "vm.overcommit_memory": 1, "kernel.panic": 10, "kernel.panic_on_oops": 1 };
  files.put(
    "/usr/local/share/rke2/rke2-cis-sysctl.conf",
    lines(Object.entries(cis).map(([name, value]) => `${name}=${value}`)),
  );
}

const hardening: Stage = (run) => {
  const { files } = run;
  if (setting(run, "HARDENING") !== "cis") return [];
  const etcd = "etcd:x:999:999:etcd user:/home/etcd:/sbin/nologin";
  files.put("/etc/passwd", `${files.text("/etc/passwd")}${etcd}\n`);
  files.put("/etc/shadow", `${files.text("/etc/shadow")}etcd:!:20000::::::\n`);
  files.put("/etc/sysctl.d/60-rke2-cis.conf", files.text("/usr/local/share/rke2/rke2-cis-sysctl.conf"));
  const policy = "/etc/rancher/rke2/audit-policy.yaml";
  if (!files.get(policy)) copy(run, "guest/audit-policy.yaml", policy);
  return ["+ useradd -r -c etcd user -s /sbin/nologin -M etcd -U"];
};

const images: Stage = (run) => {
  const { files } = run;
  const wanted = [...new Set(files.text(`${bakeDirectory}/images`).split("\n").filter(Boolean))].toSorted();
  if (wanted.length === 0) return [];
  files.put(recordImages, lines(wanted.map((image) => `${sha256(`manifest of ${image}`)}  ${image}`)));
  const data = "/var/lib/rancher/rke2/agent";
  files.put(`${data}/containerd/io.containerd.metadata.v1.bolt/meta.db`, lines(wanted));
  if (setting(run, "IMPORT_CACHE") === "yes") files.put(`${data}/images/.cache.json`, "");
  files.remove(store);
  return wanted.map((image) => `unpacking ${image}...done`);
};

const units: Stage = (run) => {
  const { files } = run;
  for (const script of ["join", "yield", "registries", "health", "log", "measure"])
    copy(run, `guest/${script}.sh`, `/usr/lib/evergreen/${script}`);
  for (const file of ["lead.py", "unprotected"]) copy(run, `guest/${file}`, `/usr/lib/evergreen/${file}`);
  for (const name of namesIn(run, "units")) {
    const directory = name.endsWith(".preset") ? "system-preset" : "system";
    copy(run, `units/${name}`, `/usr/lib/systemd/${directory}/${name}`);
  }
  // Modes are not kept of files; this is the one that matters.
  files.put("/var/lib/modes/etc/evergreen", "700\n");
  const waiting = [
    "evergreen-join.path",
    "evergreen-join.service",
    "evergreen-yield.path",
    "evergreen-registries.path",
  ];
  for (const unit of [...waiting, "evergreen-health.socket", "evergreen-log.service"]) enableUnit(files, unit);
  for (const role of ["server", "agent"]) disableUnit(files, `rke2-${role}.service`);
  return [];
};

/** The definition's own scripts are not run: nothing of the lab does what they say. */
const scripts: Stage = (run) => {
  for (const unit of entries(run, "services-enabled")) enableUnit(run.files, unit);
  for (const unit of entries(run, "services-masked")) maskUnit(run.files, unit);
  return namesIn(run, "scripts").map((name) => `+ ${bakeDirectory}/scripts/${name}`);
};

const describe: Stage = (run) => {
  const { files } = run;
  const kernel = newestKernel(files.below("/boot"));
  if (kernel === undefined) throw refuse("no kernel in /boot");
  const text = files.text(`${bakeDirectory}/image.json`).replace("@KERNEL@", kernel);
  try {
    JSON.parse(text);
  } catch {
    throw new StageFailed("python3 -m json.tool /etc/evergreen/image.json", 1, ["Expecting value: line 1 column 1"]);
  }
  files.put("/etc/evergreen/image.json", text);
  return [];
};

export const bakeStages: Readonly<Record<string, Stage>> = {
  quiet,
  archive,
  packages,
  files: placeFiles,
  system,
  rke2,
  hardening,
  images,
  units,
  scripts,
  describe,
};
