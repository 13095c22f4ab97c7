import type { ImageDefinition, ImageFile } from "../../src/domain/images/definition.ts";

/** 64 digits that stand for a SHA-256. */
export const sha = (digit: string): string => digit.repeat(64);

const file = (path: string, digit: string, mode = "0644"): ImageFile => ({ path, sha256: sha(digit), mode });

/** A whole definition, each list with more than one entry. */
export const definitionFixture: ImageDefinition = {
  name: "ubuntu-24-04-rke2",
  version: "v1.2.0",
  base: {
    url: "https://cloud-images.ubuntu.com/releases/noble/release-20260725/ubuntu-24.04-server-cloudimg-amd64.img",
    sha256: sha("a"),
    serial: "20260725",
    signedBy: "D2EB44626FDDC30B513D5BB71A5D6C4C7DB87C81",
  },
  archiveDate: "20260801T000000Z",
  packages: ["nfs-common", "open-iscsi"],
  hold: ["linux-image-generic", "linux-headers-generic"],
  diskGiB: 12,
  rke2: {
    version: "v1.34.4+rke2r1",
    cni: ["canal", "multus"],
    artefacts: [
      { file: "rke2.linux-amd64.tar.gz", sha256: sha("b") },
      { file: "rke2-images.linux-amd64.tar.zst", sha256: sha("c") },
      { file: "rke2-images.linux-amd64.txt", sha256: sha("d") },
    ],
  },
  kernel: { parameters: ["transparent_hugepage=never", "quiet"], modules: ["br_netfilter", "overlay"] },
  sysctl: { "vm.max_map_count": "262144", "net.ipv4.ip_forward": "1" },
  hardening: "cis",
  ssh: false,
  services: { enable: ["fstrim.timer", "chrony.service"], mask: ["multipathd.service", "apport.service"] },
  files: [file("/etc/motd", "1"), file("/etc/audit/rules.d/evergreen.rules", "2", "0640")],
  scripts: [file("10-first", "3", "0755"), file("20-second", "4", "0755")],
  tests: [file("agent", "5", "0755"), file("time", "6", "0755")],
};
