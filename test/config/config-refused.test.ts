import assert from "node:assert/strict";
import { readConfig } from "../../src/config/config.ts";
import { keyPair } from "../evidence/image.ts";
import { agents, control, minimal, refused } from "../support/config.ts";
import { madeCertificate } from "../support/pem.ts";

/** Keys of the top level: a stack that bakes an image, with other values. */
const bakes = (changes: object) => ({
  images: {
    bakes: {
      images: [{ image: "storage-v1.0.0", vmid: 9000, proofVmid: 9001 }],
      range: { first: 9000, last: 9999 },
      place: { host: "pve1", imageStorage: "images" },
      ...changes,
    },
  },
});

describe("a wrong configuration", () => {
  /** What is wrong, the pool's or the stack's change, where it is found and what is said about it. */
  const BOTH_FAMILIES = { "cluster-cidr": "10.42.0.0/16,fd00:42::/56", "service-cidr": "10.43.0.0/16,fd00:43::/112" };
  const recordKey = keyPair();
  const imageKey = { name: "site", publicKey: recordKey.publicKey, from: "2026-08-01T00:00:00Z" };
  type Case = [string, object, object, string, RegExp];
  const cases: Case[] = [
    ["unknown key of the stack", {}, { pool: [] }, "evergreen:pool", /"pool" is unknown[^]*did you mean "pools"/],
    ["unknown key of a pool", { imgae: "x" }, {}, "evergreen:pools[0].imgae", /did you mean "image"/],
    [
      "unknown key of a strategy",
      { strategy: { surgge: 1 } },
      {},
      "evergreen:pools[0].strategy.surgge",
      /did you mean "surge"/,
    ],
    [
      "unknown key like no other",
      { strategy: { colour: 1 } },
      {},
      "evergreen:pools[0].strategy.colour",
      /use one of: kind, surge,/,
    ],
    [
      "missing value",
      { image: undefined },
      {},
      "evergreen:pools[0].image",
      /is missing[^]*set it: it must be a string/,
    ],
    ["wrong type", { slots: "six" }, {}, "evergreen:pools[0].slots", /"six" is not possible[^]*a number/],
    ["fewer slots than none", { slots: -1 }, {}, "evergreen:pools[0].slots", /at least 0/],
    ["fraction", { slots: 1.5 }, {}, "evergreen:pools[0].slots", /a whole number/],
    ["image without a version", { image: "ubuntu" }, {}, "evergreen:pools[0].image", /with its version/],
    ["no address", { firstAddress: "10.0.0.256" }, {}, "evergreen:pools[0].firstAddress", /IPv4/],
    ["strategy kind", { strategy: { kind: "big-bang" } }, {}, "evergreen:pools[0].strategy.kind", /rolling, blueGreen/],
    ["negative soak", { strategy: { soakSeconds: -1 } }, {}, "evergreen:pools[0].strategy.soakSeconds", /at least 0/],
    ["share", { strategy: { canary: "some" } }, {}, "evergreen:pools[0].strategy.canary", /"10%"/],
    ["label", { labels: { "a b": "c" } }, {}, "evergreen:pools[0].labels.a b", /label name/],
    ["label's prefix", { labels: { "a..b/c": "d" } }, {}, "evergreen:pools[0].labels.a..b/c", /label name/],
    ["label's prefix's dash", { labels: { "a-.b/c": "d" } }, {}, "evergreen:pools[0].labels.a-.b/c", /label name/],
    ["taint", { taints: ["a=b"] }, {}, "evergreen:pools[0].taints[0]", /key=value:NoSchedule/],
    ["switch that is no switch", {}, { allowDestroy: "yes" }, "evergreen:allowDestroy", /a boolean/],
    ["deadline of nothing", {}, { timeouts: { joinSeconds: 0 } }, "evergreen:timeouts.joinSeconds", /at least 1/],
    [
      "storage promised less than it has",
      {},
      { site: { ...minimal().site, storageOvercommit: 0.5 } },
      "evergreen:site.storageOvercommit",
      /at least 1/,
    ],
    [
      "private key for a public one",
      {},
      { images: { keys: [{ ...imageKey, publicKey: recordKey.privateKey }] } },
      "evergreen:images.keys[0].publicKey",
      /Ed25519 public key in PEM/,
    ],
    [
      "key of another kind",
      {},
      { images: { keys: [{ ...imageKey, publicKey: madeCertificate }] } },
      "evergreen:images.keys[0].publicKey",
      /Ed25519 public key in PEM/,
    ],
    [
      "key that ends before it begins",
      {},
      { images: { keys: [{ ...imageKey, until: imageKey.from }] } },
      "evergreen:images.keys[0].until",
      /later than from/,
    ],
    [
      "key from no time on",
      {},
      { images: { keys: [{ ...imageKey, from: "2026-13-01" }] } },
      "evergreen:images.keys[0].from",
      /"2026-13-01" is not possible[^]*must be a time or a date/,
    ],
    ["proof by no stack", {}, { images: { proof: { stacks: [] } } }, "evergreen:images.proof.stacks", /not be empty/],
    ["bakes of no image", {}, bakes({ images: [] }), "evergreen:images.bakes.images", /not be empty/],
    [
      "a place that is an option",
      {},
      bakes({ place: { host: "a,b", imageStorage: "images" } }),
      "evergreen:images.bakes.place.host",
      /name of a host/,
    ],
    [
      "bakes without a storage for base images",
      {},
      bakes({ place: { host: "pve1" } }),
      "evergreen:images.bakes.place.imageStorage",
      /is missing/,
    ],
    [
      "bakes of a pool's VMIDs",
      {},
      bakes({ range: { first: 250, last: 9999 } }),
      "evergreen:images.bakes.range",
      /overlap with 200-299 of evergreen:pools\[0\]/,
    ],
    [
      "bakes backward",
      {},
      bakes({ range: { first: 9999, last: 9000 } }),
      "evergreen:images.bakes.range",
      /end before they begin/,
    ],
    [
      "template beside the VMIDs of bakes",
      {},
      bakes({ images: [{ image: "storage-v1.0.0", vmid: 8999, proofVmid: 9001 }] }),
      "evergreen:images.bakes.images[0].vmid",
      /VM 8999 is none of the VMIDs of bakes/,
    ],
    [
      "clone with a template's VMID",
      {},
      bakes({ images: [{ image: "storage-v1.0.0", vmid: 9001, proofVmid: 9001 }] }),
      "evergreen:images.bakes.images[0].proofVmid and evergreen:images.bakes.images[0].vmid",
      /VM 9001 is for another template or clone already/,
    ],
    [
      "image that is listed twice",
      {},
      bakes({
        images: [
          { image: "storage-v1.0.0", vmid: 9001, proofVmid: 9002 },
          { image: "storage-v1.0.0", vmid: 9003, proofVmid: 9004 },
        ],
      }),
      "evergreen:images.bakes.images[0].image and evergreen:images.bakes.images[1].image",
      /storage-v1\.0\.0 is listed twice/,
    ],
    [
      "image that is listed twice for a host",
      {},
      bakes({
        images: [
          { image: "storage-v1.0.0", vmid: 9001, proofVmid: 9002 },
          { image: "storage-v1.0.0", host: "pve2", vmid: 9003, proofVmid: 9004 },
          { image: "storage-v1.0.0", host: "pve1", vmid: 9005, proofVmid: 9006 },
        ],
      }),
      "evergreen:images.bakes.images[0].image and evergreen:images.bakes.images[2].image",
      /storage-v1\.0\.0 is listed twice/,
    ],
    ["unsigned images", {}, { images: { unsigned: true } }, "evergreen:images.unsigned", /refuse, accept/],
    ["cluster name", {}, { cluster: "Demo_1" }, "evergreen:cluster", /host name/],
    ["name too long", { name: "p".repeat(50) }, {}, "evergreen:pools[0].name", /66 characters, and 63/],
    ["pool named as the servers", { name: "servers" }, {}, "evergreen:pools[0].name", /belongs to the servers/],
    [
      "even servers",
      {},
      { controlPlane: control({ servers: 2 }) },
      "evergreen:controlPlane.servers",
      /use 1, 3, 5 or 7/,
    ],
    ["backward range", { vmIds: { first: 299, last: 200 } }, {}, "evergreen:pools[0].vmIds", /ends before it begins/],
    [
      "too few ids",
      { slots: 2, vmIds: { first: 200, last: 202 } },
      {},
      "evergreen:pools[0].vmIds",
      /3 VMIDs are too few for 2 slots[^]*at least 4/,
    ],
    [
      "no id for a server more",
      {},
      { controlPlane: control({ vmIds: { first: 100, last: 102 } }) },
      "evergreen:controlPlane.vmIds",
      /3 VMIDs are too few for 3 slots[^]*at least 4/,
    ],
    [
      "overlapping ids",
      { vmIds: { first: 150, last: 250 } },
      {},
      "evergreen:pools[0].vmIds",
      /150-250 overlap with 100-199 of servers/,
    ],
    ["ids that touch", { vmIds: { first: 199, last: 250 } }, {}, "evergreen:pools[0].vmIds", /overlap/],
    ["uneven sockets", { cores: 3, cpu: { sockets: 2 } }, {}, "evergreen:pools[0].cpu.sockets", /3 cores .* 2 sockets/],
    [
      "a balloon above the memory",
      { memoryMiB: 1024, balloonMiB: 2048 },
      {},
      "evergreen:pools[0].balloonMiB",
      /2048 MiB are more than the memory of 1024/,
    ],
    [
      "an MTU of a card that has none",
      { networks: [{ bridge: "vmbr0", model: "e1000", mtu: 9000 }] },
      {},
      "evergreen:pools[0].networks[0].mtu",
      /model e1000 has no MTU/,
    ],
    [
      "native I/O through a cache",
      { disks: [{ name: "a", sizeGiB: 1, cache: "writeback", aio: "native" }] },
      {},
      "evergreen:pools[0].disks[0].aio",
      /needs the cache mode none or directsync, and this one is writeback/,
    ],
    [
      "two disks of one name",
      {
        disks: [
          { name: "data", sizeGiB: 1 },
          { name: "data", sizeGiB: 2 },
        ],
      },
      {},
      "evergreen:pools[0].disks[1].name",
      /two disks are called data/,
    ],
    [
      "a CPU flag that is added and taken away",
      { cpu: { flags: ["+aes", "-pcid", "-aes"] } },
      {},
      "evergreen:pools[0].cpu.flags",
      /aes is added and taken away/,
    ],
    [
      "a USB device as PCIe",
      { devices: [{ mapping: "key", kind: "usb", pcie: true }] },
      {},
      "evergreen:pools[0].devices[0].pcie",
      /no PCIe device/,
    ],
    ["no network", { networks: [] }, {}, "evergreen:pools[0].networks", /must not be empty/],
    [
      "a list where a text belongs",
      { hosts: [[]] },
      {},
      "evergreen:pools[0].hosts[0]",
      /\[\] is not possible\n.*a string/,
    ],
    ["a text where a list belongs", { networks: "" }, {}, "evergreen:pools[0].networks", /"" is not .*\n.*a list/],
    [
      "a VLAN that there is not",
      { networks: [{ bridge: "vmbr0", vlan: 4095 }] },
      {},
      "evergreen:pools[0].networks[0].vlan",
      /at most 4094/,
    ],
    [
      "our label on servers",
      {},
      { controlPlane: control({ labels: { "evergreen.dev/slot": "1" } }) },
      'evergreen:controlPlane.labels["evergreen.dev/slot"]',
      /label of Evergreen's own/,
    ],
    [
      "two ways to say the addresses",
      { firstAddress: "10.0.0.20", addresses: ["10.0.0.20-10.0.0.220"] },
      {},
      "evergreen:pools[0].firstAddress",
      /both firstAddress and addresses/,
    ],
    [
      "too few addresses",
      { addresses: ["10.0.0.20-10.0.0.29", "10.0.0.40"] },
      {},
      "evergreen:pools[0].addresses",
      /11 addresses are too few for 100 VMIDs/,
    ],
    [
      "an address twice",
      { addresses: ["10.0.0.20-10.0.0.119", "10.0.0.119"] },
      {},
      "evergreen:pools[0].addresses",
      /10\.0\.0\.119 is in more than one/,
    ],
    [
      "addresses of the servers in a list",
      { addresses: ["10.0.0.100-10.0.0.209"] },
      { controlPlane: control({ firstAddress: "10.0.0.10" }) },
      "evergreen:pools[0].addresses",
      /overlap with those of servers/,
    ],
    [
      "three ways to say the IPv6 addresses",
      { firstAddress6: "fd00::20", addresses6: ["fd00::20-fd00::83"], ip6: "auto" },
      {},
      "evergreen:pools[0].firstAddress6",
      /both firstAddress6 and addresses6 and ip6 say/,
    ],
    [
      "too few IPv6 addresses",
      { addresses6: ["fd00::20-fd00::29", "fd00::40"] },
      {},
      "evergreen:pools[0].addresses6",
      /11 addresses are too few for 100 VMIDs/,
    ],
    [
      "an IPv6 address twice, in two spellings",
      { addresses6: ["fd00::20-fd00::84", "FD00:0::0.0.0.33"] },
      {},
      "evergreen:pools[0].addresses6",
      /fd00::21 is in more than one/,
    ],
    [
      "IPv6 addresses of the servers in a list",
      { addresses6: ["fd00:0:0:0::f000-fd00::f100"] },
      { controlPlane: control({ firstAddress6: "fd00::EFFF" }) },
      "evergreen:pools[0].addresses6",
      /overlap with those of servers/,
    ],
    ...["fe80::20", "ff02::20", "::ffff:10.0.0.20", "::", "::1"].map((firstAddress6): Case => {
      const where = "evergreen:pools[0].firstAddress6";
      return [`an address of no node, ${firstAddress6}`, { firstAddress6 }, {}, where, /reached by other machines/];
    }),
    [
      "a block with link-local addresses",
      { addresses6: ["fd00::-ff00::"] },
      {},
      "evergreen:pools[0].addresses6[0]",
      /reached by other machines/,
    ],
    ["IPv6 alone", { firstAddress: "fd00::20" }, {}, "evergreen:pools[0].firstAddress", /no node has IPv6 alone yet/],
    [
      "IPv6 alone in a list",
      { addresses: ["fd00::20-fd00::83"] },
      {},
      "evergreen:pools[0].addresses[0]",
      /two of them with a dash: no node has IPv6 alone yet, .*firstAddress6/,
    ],
    [
      "a gateway of IPv6 for IPv4",
      {},
      { site: { ...minimal().site, gateway: "fd00::1" } },
      "evergreen:site.gateway",
      /no node has IPv6 alone yet, .*gateway6/,
    ],
    ["IPv4 in place of IPv6", { firstAddress6: "10.0.0.20" }, {}, "evergreen:pools[0].firstAddress6", /IPv6 address/],
    ["IPv6 in place of IPv4", { firstAddress: "fd00::20" }, {}, "evergreen:pools[0].firstAddress", /IPv4 address/],
    ["a scope", { firstAddress6: "fd00::20%eth0" }, {}, "evergreen:pools[0].firstAddress6", /IPv6 address/],
    [
      "the address of the network",
      { firstAddress6: "fd00::" },
      {},
      "evergreen:pools[0].firstAddress6",
      /fd00:: to fd00::63 do not fit the network fd00::\/64/,
    ],
    [
      "IPv6 addresses beyond the network",
      { firstAddress6: "fd00::ffd0" },
      { site: { ...minimal().site, prefixLength6: 112 } },
      "evergreen:pools[0].firstAddress6",
      /fd00::ffd0 to fd00::1:33 do not fit the network fd00::\/112/,
    ],
    [
      "IPv6 gateway elsewhere",
      { firstAddress6: "fd00::20" },
      { site: { ...minimal().site, gateway6: "fd00:0:0:1::1" } },
      "evergreen:pools[0].firstAddress6",
      /gateway fd00:0:0:1::1 is not in the network fd00::\/64/,
    ],
    [
      "node at the IPv6 gateway",
      { firstAddress6: "fd00::20" },
      { site: { ...minimal().site, gateway6: "FD00::0:20" } },
      "evergreen:pools[0].firstAddress6",
      /fd00::20 is evergreen:site\.gateway6/,
    ],
    [
      "node at the IPv6 registration address",
      { firstAddress6: "fd00::2" },
      { site: { ...minimal().site, registrationAddress: "fd00:0::5" } },
      "evergreen:pools[0].firstAddress6",
      /fd00::5 is evergreen:site\.registrationAddress/,
    ],
    [
      "IPv6 addresses that RKE2 does not find",
      { firstAddress6: "fd00::20" },
      { controlPlane: control({ config: BOTH_FAMILIES, ip6: "auto" }) },
      "evergreen:pools[0].firstAddress6",
      /DHCP, and IPv6 has no gateway/,
    ],
    [
      "networks of other families",
      {},
      { controlPlane: control({ config: { "cluster-cidr": BOTH_FAMILIES["cluster-cidr"] } }) },
      "evergreen:controlPlane.config.cluster-cidr",
      /RKE2 does not start/,
    ],
    [
      "a gateway that is no router",
      {},
      { site: { ...minimal().site, gateway6: "ff02::1" } },
      "evergreen:site.gateway6",
      /router/,
    ],
    [
      "a registration address in brackets",
      {},
      { site: { ...minimal().site, registrationAddress: "[fd00::5]" } },
      "evergreen:site.registrationAddress",
      /without brackets/,
    ],
    [
      "a registration address that is nearly one",
      {},
      { site: { ...minimal().site, registrationAddress: "fd00::5::1" } },
      "evergreen:site.registrationAddress",
      /or an IP address/,
    ],
    [
      "a block that ends before it begins",
      { addresses: ["10.0.0.9-10.0.0.8"] },
      {},
      "evergreen:pools[0].addresses[0]",
      /IPv4 address, or two/,
    ],
    [
      "a zone that the site gives",
      { labels: { "topology.kubernetes.io/zone": "a" } },
      { site: { ...minimal().site, zones: { pve1: "a" } } },
      'evergreen:pools[0].labels["topology.kubernetes.io/zone"]',
      /given by evergreen:site\.zones/,
    ],
    [
      "a weight of a host that nothing is made on",
      {},
      { site: { ...minimal().site, hostWeights: { pve99: 2 } } },
      'evergreen:site.hostWeights["pve99"]',
      /pve99 has a weight, and is among no hosts/,
    ],
    [
      "hosts of a pool that take nothing",
      { hosts: ["pve7"] },
      { site: { ...minimal().site, hostWeights: { pve7: 0 } } },
      "evergreen:pools[0].hosts",
      /all hosts of \S+ have the weight 0/,
    ],
    [
      "an annotation of our own",
      { annotations: { "evergreen.dev/cordoned-by": "me" } },
      {},
      'evergreen:pools[0].annotations["evergreen.dev/cordoned-by"]',
      /an annotation of Evergreen's own/,
    ],
    [
      "an annotation of Kubernetes",
      {},
      { controlPlane: control({ annotations: { "node.alpha.kubernetes.io/ttl": "0" } }) },
      'evergreen:controlPlane.annotations["node.alpha.kubernetes.io/ttl"]',
      /under node\.alpha\.kubernetes\.io\/ are written by Kubernetes/,
    ],
    [
      "annotations without end",
      { annotations: { "example.com/a": "x".repeat(8192) } },
      {},
      "evergreen:pools[0].annotations",
      /have 8205 bytes, and 8192/,
    ],
    [
      "a name that no annotation has",
      { annotations: { "a b": "" } },
      {},
      "evergreen:pools[0].annotations.a b",
      /must be an annotation name/,
    ],
    ["a tag of our own", { tags: ["web", "eg-pool-x"] }, {}, "evergreen:pools[0].tags[1]", /eg-pool-x is one of/],
    [
      "the tag of an image",
      {},
      { site: { ...minimal().site, defaults: { tags: ["rke2-v1"] } } },
      "evergreen:site.defaults.tags[0]",
      /rke2-v1 is one of Evergreen's own, or looks like one/,
    ],
    ["a tag with a capital", { tags: ["Web"] }, {}, "evergreen:pools[0].tags[0]", /must be a tag: small letters/],
    ["a tag that Proxmox refuses", { tags: ["a/b"] }, {}, "evergreen:pools[0].tags[0]", /must be a tag: small letters/],
    [
      "HA, which no token of ours may set",
      { ha: { state: "started" } },
      {},
      "evergreen:pools[0].ha",
      /Sys\.Console on \/ .*shell on every host/,
    ],
    ["no surge", { strategy: { surge: 0 } }, {}, "evergreen:pools[0].strategy.surge", /a new node comes before/],
    [
      "surge of blue-green",
      { strategy: { kind: "blueGreen", surge: 1 } },
      {},
      "evergreen:pools[0].strategy.surge",
      /all new nodes before/,
    ],
    [
      "everybody out",
      { strategy: { maxUnavailable: 4 } },
      {},
      "evergreen:pools[0].strategy.maxUnavailable",
      /all 4 slots[^]*at most 3/,
    ],
    [
      "everybody a canary",
      { strategy: { canary: "76%", soakSeconds: 9 } },
      {},
      "evergreen:pools[0].strategy.canary",
      /all 4 slots/,
    ],
    [
      "canary of nobody",
      { strategy: { canary: 0, soakSeconds: 9 } },
      {},
      "evergreen:pools[0].strategy.canary",
      /of nobody/,
    ],
    ["canary without soak", { strategy: { canary: 1 } }, {}, "evergreen:pools[0].strategy.soakSeconds", /not watched/],
    [
      "our label",
      { labels: { "evergreen.dev/slot": "1" } },
      {},
      'evergreen:pools[0].labels["evergreen.dev/slot"]',
      /Evergreen's own/,
    ],
    [
      "role label",
      { labels: { "node-role.kubernetes.io/control-plane": "true" } },
      {},
      'evergreen:pools[0].labels["node-role.kubernetes.io/control-plane"]',
      /written by RKE2/,
    ],
    [
      "label of the machine",
      { labels: { "kubernetes.io/hostname": "web" } },
      {},
      'evergreen:pools[0].labels["kubernetes.io/hostname"]',
      /written by RKE2/,
    ],
    ...(
      [
        ["kubernetes.io/hostname", /written by RKE2/],
        ["node-role.kubernetes.io/etcd", /written by RKE2/],
        ["evergreen.dev/slot", /Evergreen's own/],
        ["topology.kubernetes.io/zone", /given by evergreen:site\.zones/],
      ] as const
    ).map(([hostLabel, said]): [string, object, object, string, RegExp] => [
      `${hostLabel} for the name of the host`,
      {},
      { site: { ...minimal().site, hostLabel, zones: { pve1: "a" } } },
      "evergreen:site.hostLabel",
      said,
    ]),
    // pkg/util/taints of Kubernetes: "duplicated taints with the same key and effect".
    ...(
      [
        ["stays and goes", ["a=b:NoSchedule"], ["a=b:NoSchedule"], "startupTaints"],
        ["stays and goes, in another spelling", ["a:NoSchedule"], ["a=:NoSchedule"], "startupTaints"],
        ["goes with another value than it stays with", ["a=b:NoSchedule"], ["a=c:NoSchedule"], "startupTaints"],
        ["has two values", ["a=b:NoSchedule", "a=c:NoSchedule"], [], "taints"],
        ["goes twice", [], ["a:NoExecute", "a:NoExecute"], "startupTaints"],
      ] as const
    ).map(([what, taints, startupTaints, key]): [string, object, object, string, RegExp] => [
      `taint that ${what}`,
      { taints, startupTaints },
      {},
      `evergreen:pools[0].${key}`,
      /has the key and the effect of a.*a kubelet does not start with both/,
    ]),
    ...["-a=b:NoSchedule", "a/b/c:NoSchedule", "a=$b:NoSchedule", "a=b=c:NoSchedule", "a:noschedule"].map(
      (taint): [string, object, object, string, RegExp] => [
        `taint ${taint}`,
        { startupTaints: [taint] },
        {},
        "evergreen:pools[0].startupTaints[0]",
        /key and value as those of a label/,
      ],
    ),
    ...(
      [
        ["a path", { endpoint: "https://s3.example.com/bucket" }, "endpoint", /https:\/\/HOST/],
        ["no TLS", { endpoint: "http://s3.example.com" }, "endpoint", /http is for loopback only/],
        ["a user", { endpoint: "https://me@s3.example.com" }, "endpoint", /https:\/\/HOST/],
        ["a bucket of capitals", { bucket: "Backups" }, "bucket", /name of a bucket/],
        ["a prefix with a slash", { prefix: "etcd/" }, "prefix", /without slashes/],
        ["an unknown encryption", { encryption: "rot13" }, "encryption", /one of: none, AES256, aws:kms/],
        ["a credential", { secretKey: "x" }, "secretKey", /is unknown/],
      ] as const
    ).map(([what, change, key, said]): [string, object, object, string, RegExp] => [
      `backup: ${what}`,
      {},
      { backup: { s3: { endpoint: "https://s3.example.com", bucket: "backups", ...change } } },
      `evergreen:backup.s3.${key}`,
      said,
    ]),
    ["our RKE2 key", { config: { token: "x" } }, {}, "evergreen:pools[0].config.token", /written by Evergreen itself/],
    [
      "secret",
      { config: { "etcd-s3-secret-key": "x" } },
      {},
      "evergreen:pools[0].config.etcd-s3-secret-key",
      /is a secret/,
    ],
    ...(
      [
        ["Token", /Token is written by Evergreen itself/],
        ["t", /t is written by Evergreen itself/],
        ["token+", /token\+ is written by Evergreen itself/],
        ["node-label+", /written by Evergreen itself/],
        ["node-taint+", /written by Evergreen itself/],
        ["with-node-id", /written by Evergreen itself/],
        ["data-dir", /data-dir cannot be set: .*\/var\/lib\/rancher\/rke2/],
        ["d", /cannot be set/],
        ["Data-Dir+", /cannot be set/],
        ["config", /cannot be set/],
        ["write-kubeconfig", /cannot be set/],
        ["cluster-reset", /throw all others out of etcd/],
        ["cluster-reset-restore-path", /go back to that snapshot/],
        ["datastore-endpoint", /members of the etcd that RKE2 runs/],
        ["disable-etcd", /every server is a member/],
        ["disable-apiserver", /cannot be set/],
        ["node-ip", /one address for all nodes/],
        ["advertise-address", /one address for all servers/],
        ["etcd-s3-secret-key+", /is a secret/],
        ["vpn-auth", /is a secret/],
      ] as const
    ).map(([key, said]): [string, object, object, string, RegExp] => [
      `RKE2 key ${key}`,
      { config: { [key]: "x" } },
      {},
      `evergreen:pools[0].config.${key}`,
      said,
    ]),
    [
      "a kubelet that says who the node is",
      { config: { "kubelet-arg+": ["max-pods=200", "--hostname-override=x"] } },
      {},
      "evergreen:pools[0].config.kubelet-arg+",
      /--hostname-override=x says who the node is/,
    ],
    [
      "names of servers, appended",
      {},
      { controlPlane: control({ config: { "tls-san+": ["x"] } }) },
      "evergreen:controlPlane.config.tls-san+",
      /site\.tlsSans/,
    ],
    [
      "names of servers",
      {},
      { controlPlane: control({ config: { "tls-san": "x" } }) },
      "evergreen:controlPlane.config.tls-san",
      /site\.tlsSans/,
    ],
    [
      "node at the registration address",
      { firstAddress: "10.0.0.2" },
      {},
      "evergreen:pools[0].firstAddress",
      /10\.0\.0\.5 is evergreen:site\.registrationAddress/,
    ],
    [
      "addresses beyond the network",
      { firstAddress: "10.0.0.200" },
      {},
      "evergreen:pools[0].firstAddress",
      /10\.0\.0\.200 to 10\.0\.1\.43 do not fit the network 10\.0\.0\.0\/24/,
    ],
    [
      "gateway elsewhere",
      { firstAddress: "10.0.0.100" },
      { site: { ...minimal().site, gateway: "10.0.1.1" } },
      "evergreen:pools[0].firstAddress",
      /gateway 10\.0\.1\.1 is not in the network/,
    ],
  ];
  for (const [name, change, top, where, said] of cases) {
    it(name, () => {
      const problems = refused(() => readConfig(minimal(change, top)));
      assert.deepEqual(
        problems.map((problem) => problem.where),
        [where],
      );
      const [problem] = problems;
      assert.match(`${problem?.what ?? ""}\n${problem?.todo ?? ""}`, said);
      assert.doesNotMatch(problem?.what ?? "", /\.$/);
    });
  }

  const kube = (slot: number, vmid: number, changes: object = {}) => ({
    slot,
    vmid,
    uuid: `6b0124f9-0000-4000-8000-000000000${vmid}`,
    node: `kube-${vmid}`,
    ...changes,
  });
  const adoptions: [string, object[], string, RegExp][] = [
    ["a slot that is none", [kube(4, 301)], "[0].slot", /slot 4 is not one of the 4 slots.*\n.*from 0 to 3/],
    ["a slot twice", [kube(1, 301), kube(1, 302)], "[1].slot", /the slot 1 is adopted twice\n.*adopt\[0\]/],
    ["a VMID twice", [kube(0, 301), kube(1, 302, { vmid: 301 })], "[1].vmid", /the vmid 301 is adopted twice/],
    ["a uuid twice", [kube(0, 301), kube(1, 302, { uuid: kube(0, 301).uuid })], "[1].uuid", /is adopted twice/],
    ["a node twice", [kube(0, 301), kube(1, 302, { node: "kube-301" })], "[1].node", /kube-301 is adopted twice/],
    ["a uuid in capitals", [kube(0, 301, { uuid: kube(0, 301).uuid.toUpperCase() })], "[0].uuid", /in lower case/],
  ];
  for (const [name, adopt, where, said] of adoptions) {
    it(`adopts ${name}`, () => {
      const [problem, ...others] = refused(() => readConfig(minimal({ adopt })));
      assert.deepEqual([problem?.where, others], [`evergreen:pools[0].adopt${where}`, []]);
      assert.match(`${problem?.what ?? ""}\n${problem?.todo ?? ""}`, said);
    });
  }

  it("adopts a VM for two pools", () => {
    const controlPlane = control({ adopt: [kube(0, 301)] });
    const problems = refused(() => readConfig(minimal({ adopt: [kube(0, 301)] }, { controlPlane })));
    assert.deepEqual(
      problems.map(({ where }) => where),
      ["vmid", "uuid", "node"].map((key) => `evergreen:pools[0].adopt[0].${key}`),
    );
  });

  it("allows IPv6 addresses that RKE2 is told, or finds beside a default route", () => {
    const controlPlane = control({ config: BOTH_FAMILIES, ip6: "auto" });
    readConfig(minimal({ firstAddress6: "fd00::20", firstAddress: "10.0.0.20" }, { controlPlane }));
    const site = { ...minimal().site, gateway6: "fe80::1" };
    readConfig(minimal({ firstAddress6: "fd00::20" }, { controlPlane, site }));
  });

  it("allows a link-local gateway, as many routers have", () => {
    const site = { ...minimal().site, gateway6: "FE80::1" };
    assert.equal(readConfig(minimal({ firstAddress6: "fd00::20" }, { site })).site.gateway6, "fe80::1");
  });

  it("allows the last address of an IPv6 network, which is no broadcast address", () => {
    const addresses6 = ["fd00::ff00-fd00::ffff"];
    readConfig(minimal({ addresses6 }, { site: { ...minimal().site, prefixLength6: 112 } }));
  });

  it("keeps an IPv6 registration address in its usual spelling", () => {
    const site = { ...minimal().site, registrationAddress: "FD00:0::5" };
    assert.equal(readConfig(minimal({}, { site })).site.registrationAddress, "fd00::5");
  });

  it("overlapping addresses", () => {
    const controlPlane = control({ firstAddress: "10.0.0.10", vmIds: { first: 100, last: 119 } });
    const [problem, ...others] = refused(() => readConfig(minimal({ firstAddress: "10.0.0.29" }, { controlPlane })));
    assert.deepEqual(others, []);
    assert.match(problem?.what ?? "", /its addresses overlap with those of servers/);
  });

  it("two pools of one name", () => {
    const [first] = minimal().pools;
    const pools = [first, { ...first, vmIds: { first: 300, last: 399 } }];
    const problems = refused(() => readConfig({ ...minimal(), pools }));
    assert.deepEqual(
      problems.map((problem) => [problem.where, problem.what]),
      [["evergreen:pools[1].name", "the name workers belongs to evergreen:pools[0]"]],
    );
  });

  it("reads a time as YAML's parsers hand it on, with and without quotes", () => {
    const keys = [
      "2026-08-01",
      "2026-08-01T00:00:00Z",
      "2026-08-01 00:00:00 +0000 UTC",
      "2026-08-01 02:00:00 +0200 CEST",
    ];
    const read = readConfig(minimal({}, { images: { keys: keys.map((from) => ({ ...imageKey, from })) } }));
    assert.deepEqual([...new Set(read.images?.keys.map(({ from }) => from))], ["2026-08-01T00:00:00.000Z"]);
  });

  it("quotes no value with a secret in it", () => {
    const { privateKey } = keyPair();
    const [secret = ""] = privateKey.split("\n").slice(1);
    for (const wrong of [{ images: { keys: [{ publicKey: privateKey }] } }, { backup: privateKey }]) {
      const told = JSON.stringify(refused(() => readConfig(minimal({}, wrong))));
      assert.ok(!told.includes(secret), told);
    }
  });

  it("says everything at once", () => {
    const problems = refused(() =>
      readConfig(minimal({ slots: -1, strategy: { soakSeconds: -1 }, colour: 1 }, { cluster: 5 })),
    );
    assert.deepEqual(problems.map((problem) => problem.where).toSorted(), [
      "evergreen:cluster",
      "evergreen:pools[0].colour",
      "evergreen:pools[0].slots",
      "evergreen:pools[0].strategy.soakSeconds",
    ]);
  });

  it("is nothing at all", () => {
    assert.deepEqual(
      refused(() => readConfig({})).map((problem) => problem.where),
      ["evergreen:cluster", "evergreen:site", "evergreen:controlPlane"],
    );
  });

  it("allows a single slot to be out, for there is no other way", () => {
    assert.equal(agents(readConfig(minimal({ slots: 1, strategy: { maxUnavailable: 1 } }))).strategy.maxUnavailable, 1);
  });
});
