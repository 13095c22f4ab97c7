import assert from "node:assert/strict";
import { newest, proposeConfig, type Wishes } from "../../cli/init-proposal.ts";
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
