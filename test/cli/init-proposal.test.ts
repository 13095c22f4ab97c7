import assert from "node:assert/strict";
import { parse } from "yaml";
import { newest, proposeConfig, type Wishes } from "../../cli/init-proposal.ts";
import { ownSettings, readConfig } from "../../src/config/config.ts";
import { hasBothFamilies } from "../../src/domain/rollout/ip-families.ts";
import type { SiteSurvey, SurveyedTemplate } from "../../src/observe/site-survey.ts";

const template = (host: string, version = "1.1.0"): SurveyedTemplate => ({
  name: `ubuntu-24.04-rke2-v${version}`,
  rke2: "v1.34.4+rke2r1",
  host,
  pool: undefined,
  storage: "zfs",
  diskGiB: 12,
  bridge: "vmbr1",
});
const bridges = (...names: string[]) => names.map((name) => ({ name, cidr: "10.20.0.11/23", gateway: "10.20.1.254" }));
const survey = (changes: Partial<SiteSurvey> = {}): SiteSurvey => ({
  hosts: ["pve1", "pve2"],
  silent: [],
  templates: [template("pve1"), template("pve2"), template("pve1", "1.0.9")],
  bridges: new Map([
    ["pve1", bridges("vmbr1")],
    ["pve2", bridges("vmbr1")],
  ]),
  pools: ["evergreen-nodes"],
  vmids: [100, 1010],
  ...changes,
});
const wishes = (changes: Partial<Wishes> = {}): Wishes => ({
  cluster: "prod",
  registrationAddress: "k8s.example.com",
  servers: 3,
  workers: 6,
  firstAddress: "10.20.0.20",
  ...changes,
});
const propose = (site: Partial<SiteSurvey> = {}, wished: Partial<Wishes> = {}, taken: number[] = []) =>
  proposeConfig(survey(site), wishes(wished), (vmids) => Promise.resolve(!vmids.some((vmid) => taken.includes(vmid))));

describe("the first configuration of a stack", () => {
  it("has what the site has: newest image, its storage and bridge, the network of the hosts, free VMIDs", async () => {
    const { config, notes } = await propose({}, {}, [1133]);
    const { site, controlPlane, pools } = config;
    assert.deepEqual(
      [site.hosts, site.storage, site.bridge, site.gateway, site.prefixLength, site.proxmoxPool],
      [["pve1", "pve2"], "zfs", "vmbr1", "10.20.1.254", 23, "evergreen-nodes"],
    );
    assert.deepEqual(
      [controlPlane.image, controlPlane.servers, controlPlane.diskGiB, controlPlane.firstAddress],
      ["ubuntu-24.04-rke2-v1.1.0", 3, 12, "10.20.0.20"],
    );
    // A VM has 1010, and somebody out of sight 1133.
    assert.deepEqual(
      [controlPlane.vmIds, pools[0]?.vmIds],
      [
        { first: 1200, last: 1219 },
        { first: 1220, last: 1259 },
      ],
    );
    assert.deepEqual([pools[0]?.slots, pools[0]?.firstAddress], [6, "10.20.0.40"]);
    assert.deepEqual(notes.length, 1, notes.join("\n"));
  });

  it("has what the operator says", async () => {
    const image = "ubuntu-24.04-rke2-v1.0.9";
    const { config } = await propose({ hosts: ["pve1", "pve2", "pve3"] }, { image, storage: "ceph", firstVmid: 7000 });
    assert.deepEqual([config.site.hosts, config.site.storage], [["pve1"], "ceph"]);
    assert.deepEqual([config.controlPlane.image, config.controlPlane.vmIds.first], [image, 7000]);
  });

  it("has disks as great as the greatest copy of the template, and the usual size where that is not known", async () => {
    const said = async (...sizes: (number | undefined)[]) => {
      const hosts = ["pve1", "pve2"];
      const templates = sizes.map((diskGiB, i) => ({ ...template(hosts[i] ?? ""), diskGiB }));
      const { config, notes } = await propose({ templates });
      return [config.controlPlane.diskGiB, config.pools[0]?.diskGiB, notes.some((note) => note.includes("diskGiB"))];
    };
    assert.deepEqual(await said(12, 14), [14, 14, false]);
    assert.deepEqual(await said(undefined, 14), [14, 14, false]);
    assert.deepEqual(await said(undefined), [40, 40, true]);
  });

  it("copies in full what shall be on another storage than the template", async () => {
    const said = async (storage: string) => (await propose({}, { storage })).config.site.fullClones;
    assert.deepEqual([await said("zfs"), await said("ceph")], [false, true]);
  });

  for (const cluster of ["true", "a: b", "x # y", "[", "1e3"])
    it(`is refused in the words of the configuration with the cluster ${cluster}`, async () => {
      await assert.rejects(propose({}, { cluster }), /evergreen:cluster/);
    });

  const notes: [string, Partial<SiteSurvey>, Partial<Wishes>, RegExp][] = [
    ["hosts that do not answer", { silent: ["pve3"] }, {}, /pve3 does not answer/],
    ["hosts without the image", { hosts: ["pve1", "pve2", "pve4"] }, {}, /pve4 get no VMs: no copy of ubuntu/],
    [
      "addresses of another network",
      {},
      { firstAddress: "192.168.7.20" },
      /gateway .* of 192\.168\.7\.20 are not known/,
    ],
  ];
  for (const [title, site, wished, says] of notes)
    it(`notes ${title}`, async () => {
      const { notes: said } = await propose(site, wished);
      assert.ok(
        said.some((note) => says.test(note)),
        said.join("\n"),
      );
    });

  it("leaves addresses to DHCP when none is named", async () => {
    const top = survey();
    const rest = wishes();
    delete rest.firstAddress;
    const { config, notes: said } = await proposeConfig(top, rest, () => Promise.resolve(true));
    assert.deepEqual([config.controlPlane.firstAddress, config.site.gateway], [undefined, undefined]);
    assert.match(said.join("\n"), /DHCP/);
  });

  describe("on a site with IPv6", () => {
    const withIpv6 = (cidr6: string, more: object = { gateway6: "fe80::1" }): Partial<SiteSurvey> => ({
      bridges: new Map(
        ["pve1", "pve2"].map((host) => [host, bridges("vmbr1").map((one) => ({ ...one, cidr6, ...more }))]),
      ),
    });

    it("has both families when an address of IPv6 is named, with the network of the hosts", async () => {
      const { config, notes: said } = await propose(withIpv6("fd00:20::11/60"), { firstAddress6: "fd00:20::20" });
      const { site, controlPlane, pools } = config;
      assert.deepEqual([site.gateway6, site.prefixLength6], ["fe80::1", 60]);
      assert.deepEqual([controlPlane.firstAddress6, pools[0]?.firstAddress6], ["fd00:20::20", "fd00:20::34"]);
      assert.ok(hasBothFamilies(controlPlane.config));
      assert.deepEqual(said.length, 1, said.join("\n"));
    });

    it("shows the keys as comments when none is named, and says that there is no later", async () => {
      const { config, text, notes: said } = await propose(withIpv6("fd00:20::11/64"));
      assert.ok(!hasBothFamilies(config.controlPlane.config));
      assert.match(said.join("\n"), /from its creation on or never/);
      const taken = text.replaceAll(/^( +)# (?=(gateway6|prefixLength6|ip6|config):)/gm, "$1");
      const both = readConfig(ownSettings((parse(taken) as { config: Record<string, unknown> }).config));
      assert.ok(hasBothFamilies(both.controlPlane.config));
      assert.deepEqual([both.controlPlane.ip6, both.pools[0]?.ip6, both.site.gateway6], ["auto", "auto", "fe80::1"]);
    });

    it("notes an address of another network, and takes a link-local address for no network", async () => {
      const { notes: said } = await propose(withIpv6("fd00:20::11/64"), { firstAddress6: "fd00:99::20" });
      assert.match(said.join("\n"), /of fd00:99::20 are not known/);
      const { text } = await propose(withIpv6("fe80::11/64"));
      assert.doesNotMatch(text, /ip6/);
    });

    it("is refused with IPv6 in the place of IPv4", async () => {
      await assert.rejects(propose({}, { firstAddress: "fd00:20::20" }), /no node has IPv6 alone yet/);
    });
  });

  it("is in the only pool that the token sees", async () => {
    assert.equal((await propose({ pools: ["k8s"] })).config.site.proxmoxPool, "k8s");
    assert.equal((await propose({ pools: ["k8s", "evergreen-nodes"] })).config.site.proxmoxPool, "evergreen-nodes");
  });

  const refused: [string, Partial<SiteSurvey>, Partial<Wishes>, RegExp][] = [
    ["no image", { templates: [] }, {}, /sees no template that is an image/],
    ["another image", {}, { image: "ubuntu-24.04-rke2-v9.0.0" }, /no template .*v9\.0\.0[^]*v1\.1\.0/],
    ["a host that does not answer", {}, { hosts: ["pve1", "pve9"] }, /pve9 does not answer, or there is none/],
    ["a bridge that a host lacks", {}, { bridge: "vmbr7" }, /pve1 has no bridge or VNet vmbr7[^]*pve2 has no bridge/],
    ["no pool", { pools: ["a", "b"] }, {}, /no Proxmox pool evergreen-nodes[^]*a, b/],
    ["a name that no host can have", {}, { cluster: "My_Cluster" }, /cannot be part of a host name/],
    ["addresses that do not fit", {}, { firstAddress: "10.20.1.250" }, /do not fit the network/],
  ];
  for (const [title, site, wished, says] of refused)
    it(`is refused by name with ${title}`, async () => {
      await assert.rejects(propose(site, wished), says);
    });

  it("compares versions by their numbers", () => {
    assert.equal(newest([template("a", "1.9.0"), template("a", "1.10.0")]), "ubuntu-24.04-rke2-v1.10.0");
    assert.equal(newest([]), undefined);
  });
});
