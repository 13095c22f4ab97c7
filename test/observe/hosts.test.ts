import assert from "node:assert/strict";
import { UserErrors } from "../../src/runtime/errors.ts";
import {
  requireHosts,
  hostsThatAnswer,
  hostWarnings,
  readCandidateHosts,
  type CandidateHost,
  type NewVms,
  type Places,
} from "../../src/observe/hosts.ts";
import { requireRoom } from "../../src/observe/room.ts";
import { clonesOf } from "../../src/observe/templates.ts";
import type { Placement } from "../../src/config/placement.ts";
import type { NodeHardware } from "../../src/domain/model/hardware.ts";
import { generationOf } from "../../src/domain/model/generation.ts";
import type { SlotPlan } from "../../src/domain/model/types.ts";
import { chooseHosts } from "../../src/domain/rollout/host-choice.ts";
import { fakeProxmox, type Answer } from "../clients/proxmox/fake.ts";
import { NEW, OLD, picture, smallConfig } from "../support/picture.ts";

const GiB = 1024 ** 3;
const plain = smallConfig();
const config = { ...plain, site: { ...plain.site, hosts: ["pve1", "pve2"] } };
const placement: Placement = {
  pool: "workers",
  where: { hosts: "evergreen:site.hosts", storage: "evergreen:site.storage", disks: "evergreen:pools[0].disks" },
  hosts: ["pve1", "pve2"],
  storage: "local",
  fullClones: false,
  tags: [],
  furtherStorages: [],
};
const place = (host: string, freeGiB = 1000, shared = false, storage = "local"): CandidateHost => ({
  host,
  storage,
  found: { freeGiB, shared },
});
const silent = (host: string): CandidateHost => ({ host, storage: "local", found: undefined });

const made = (slot: number, diskGiB = 40, image = NEW, hardware: NodeHardware = {}): SlotPlan => {
  const size = { cores: 2, memoryMiB: 4096, diskGiB };
  const generation = generationOf({ image, rke2: "v1.34.5+rke2r1", ...size, hardware });
  return { slot, generation, name: `new-${slot}`, vmid: 1100 + slot, creates: true, replaces: [] };
};

/** The copies of the newer template. */
const copiesOn = (...hosts: string[]) => {
  const { images } = picture();
  const templates = hosts.map((host, k) => ({ vmid: 9002 + k, host }));
  return picture({ images: new Map(images).set(NEW, { name: NEW, rke2: "v1.34.5+rke2r1", templates }) });
};

/** A place for each VM, round the hosts of its pool that answer. */
const spread = (candidates: readonly CandidateHost[], vms: readonly NewVms[]): Places =>
  chooseHosts(
    vms.map((one) => ({
      role: "agent",
      hosts: hostsThatAnswer(candidates, one.placement),
      nodes: one.made.map(({ name }) => ({ name })),
    })),
    {},
  );
const admit = (
  candidates: readonly CandidateHost[],
  overcommit: number,
  observed: ReturnType<typeof picture>,
  vms: readonly NewVms[],
  drives = new Map<number, { storage: string; sizeGiB: number }[]>(),
) => {
  const places = spread(candidates, vms);
  requireHosts(candidates, observed, places, vms);
  const clones = vms.flatMap((one) => clonesOf(observed, places, one));
  requireRoom(candidates, overcommit, clones, drives);
};

/** What is refused, without words that do not matter. */
function refused(check: () => void): string[] {
  try {
    check();
  } catch (error) {
    if (error instanceof UserErrors) return error.problems.map(({ what, where }) => `${what} | ${where}`);
    throw error;
  }
  return [];
}

describe("the hosts of a site", () => {
  const ask = async (pve2: Answer) => {
    await using pve = await fakeProxmox(({ path }) =>
      path.startsWith("/nodes/pve2/") ? pve2 : { data: { avail: 80 * GiB, shared: 1 } },
    );
    return await readCandidateHosts(pve.client, config);
  };

  it("say how much room their storage has, and whether it is shared", async () => {
    assert.deepEqual(await ask({ data: { avail: 40 * GiB } }), [place("pve1", 80, true), place("pve2", 40)]);
  });

  for (const status of [595, 596, 599]) {
    it(`get no new VM when they do not answer (${status})`, async () => {
      const places = await ask({ status, reason: "No route to host" });
      assert.deepEqual(hostsThatAnswer(places, placement), ["pve1"]);
      assert.deepEqual(hostWarnings(places), ["the Proxmox host pve2 does not answer: no new VM goes there"]);
    });
  }

  it("are refused by name when Proxmox knows none of that name", async () => {
    const unknown = { status: 500, reason: "hostname lookup 'pve2' failed - failed to get address info for: pve2" };
    await assert.rejects(ask(unknown), /names the Proxmox host pve2, .*\n {2}where: evergreen:site\.hosts\[1\]/);
  });
});

describe("the storages of a site", () => {
  const read = async (answer: Answer) => {
    await using pve = await fakeProxmox(({ path }) =>
      path.startsWith("/nodes/pve2/") ? answer : { data: { avail: 80 * GiB, shared: 1 } },
    );
    return (await readCandidateHosts(pve.client, config))[1]?.found;
  };
  const full = { avail: 80 * GiB, shared: 0, active: 1, enabled: 1, type: "dir", content: "images,iso" };
  const cases: [title: string, data: object, found: object][] = [
    ["hold disks", full, {}],
    ["have no thin disks on LVM", { ...full, type: "lvm" }, { isThick: true }],
    ["have thin disks on LVM-thin", { ...full, type: "lvmthin" }, {}],
  ];
  for (const [title, data, found] of cases)
    it(title, async () => assert.deepEqual(await read({ data }), { freeGiB: 80, shared: false, ...found }));

  it("are told from those that hold none, and from those that are not active", async () => {
    assert.match(
      (await read({ data: { ...full, content: "backup,iso" } }))?.unfit?.what ?? "",
      /its content is backup,iso/,
    );
    assert.match((await read({ data: { ...full, active: 0, avail: 0 } }))?.unfit?.what ?? "", /not active there/);
  });

  it("are refused by name when a host has none of that name", async () => {
    const unknown = { status: 400, reason: "Parameter verification failed.", errors: { storage: "No such storage." } };
    await assert.rejects(read(unknown), /pve2 has no storage local[^]*where: evergreen:site\.storage/);
  });
});

describe("the places of new VMs", () => {
  const cases: [string, CandidateHost[], string[], RegExp | undefined][] = [
    ["each host has a copy of the template", [place("pve1"), place("pve2")], ["pve1", "pve2"], undefined],
    ["the storage is shared", [place("pve1", 1000, true), place("pve2", 1000, true)], ["pve1"], undefined],
    [
      "a host has neither a copy nor a shared storage",
      [place("pve1"), place("pve2")],
      ["pve1"],
      /^the template .*v1\.1\.0 is not on pve2, and the storage local is not shared.*\| VMs of .* on pve2; the template is on pve1$/,
    ],
    ["the host without a copy does not answer", [place("pve1"), silent("pve2")], ["pve1"], undefined],
    [
      "the only copy is on a host that does not answer",
      [silent("pve1"), place("pve2", 1000, true)],
      ["pve1"],
      /^the template .* cannot be cloned: the Proxmox host that holds it does not answer/,
    ],
    ["another copy is on a host that answers", [silent("pve1"), place("pve2")], ["pve1", "pve2"], undefined],
    ["no host answers", [silent("pve1"), silent("pve2")], ["pve1"], /^no Proxmox host that may get new VMs answers/],
  ];
  for (const [title, places, copies, problem] of cases) {
    it(`${problem ? "are refused" : "are right"} when ${title}`, () => {
      const found = refused(() => admit(places, 1, copiesOn(...copies), [{ placement, made: [made(0), made(1)] }]));
      assert.equal(found.length, problem ? 1 : 0, found.join("\n"));
      if (problem) assert.match(found[0] ?? "", problem);
    });
  }

  it("are not asked for when nothing is made", () => {
    assert.deepEqual(
      refused(() => admit([silent("pve1")], 1, picture(), [{ placement, made: [] }])),
      [],
    );
  });

  const rooms: [string, CandidateHost[], SlotPlan[], number, string[]][] = [
    ["each host has room for its own", [place("pve1", 40), place("pve2", 40)], [made(0), made(1)], 1, []],
    [
      "one host has not",
      [place("pve1", 40), place("pve2", 39.9)],
      [made(0), made(1)],
      1,
      [
        "1 new disks may grow to 40 GiB and 39 GiB are free: old and new nodes exist side by side | storage local on pve2",
      ],
    ],
    [
      "the shared storage has too little for all",
      [place("pve1", 79, true), place("pve2", 79, true)],
      [made(0), made(1)],
      1,
      [
        "2 new disks may grow to 80 GiB and 79 GiB are free: old and new nodes exist side by side | storage local on pve1",
      ],
    ],
    ["the overcommit allows it", [place("pve1", 32), place("pve2", 32)], [made(0, 80), made(1, 80)], 2.5, []],
    [
      "the overcommit does not allow it",
      [place("pve1", 32), place("pve2", 32)],
      [made(0, 80), made(1, 81)],
      2.5,
      [
        "1 new disks may grow to 81 GiB and 32 GiB are free, times an overcommit of 2.5: old and new nodes exist side by side | storage local on pve2",
      ],
    ],
  ];
  it("hold further disks too, each on its storage", () => {
    const disks = [
      { name: "logs", sizeGiB: 5 },
      { name: "data", sizeGiB: 60, storage: "ssd" },
    ];
    const vms = [{ placement: { ...placement, hosts: ["pve1"] }, made: [made(0, 40, NEW, { disks })] }];
    const check = (local: number, ssd: number) =>
      refused(() => admit([place("pve1", local), place("pve1", ssd, false, "ssd")], 1, copiesOn("pve1"), vms));
    assert.deepEqual(check(45, 60), []);
    assert.match(check(44, 60).join(), /^2 new disks may grow to 45 GiB and 44 GiB are free.* storage local on pve1$/);
    assert.match(check(45, 59).join(), /^1 new disks may grow to 60 GiB and 59 GiB are free.* storage ssd on pve1$/);
  });

  it("hold the further disks of the template: full clones on their storage, linked ones only where disks are not thin", () => {
    const drives = new Map([[9002, [{ storage: "ssd", sizeGiB: 100 }]]]);
    const check = (fullClones: boolean, local: number, ssd: number, more: { isThick?: true } = {}) => {
      const vms = [{ placement: { ...placement, hosts: ["pve1"], fullClones }, made: [made(0), made(1)] }];
      const found = { freeGiB: ssd, shared: false, ...more };
      const places = [place("pve1", local), { ...place("pve1", ssd, false, "ssd"), found }];
      return refused(() => admit(places, 1, copiesOn("pve1"), vms, drives)).join();
    };
    assert.equal(check(true, 280, 0), "");
    assert.match(
      check(true, 279, 200),
      /^4 new disks may grow to 280 GiB and 279 GiB are free.* storage local on pve1$/,
    );
    assert.equal(check(false, 80, 0), "");
    assert.match(check(false, 79, 0), /^2 new disks may grow to 80 GiB and 79 GiB are free.* storage local on pve1$/);
    assert.match(
      check(false, 280, 199, { isThick: true }),
      /^2 new disks take 200 GiB at once and 199 GiB are free.* storage ssd on pve1$/,
    );
  });

  it("take their full size at once where disks are not thin, whatever the overcommit", () => {
    const thick = (freeGiB: number): CandidateHost => ({
      ...place("pve1"),
      found: { freeGiB, shared: true, isThick: true },
    });
    const check = (freeGiB: number) =>
      refused(() => admit([thick(freeGiB)], 3, copiesOn("pve1"), [{ placement, made: [made(0), made(1)] }])).join();
    assert.equal(check(80), "");
    assert.match(check(79), /^2 new disks take 80 GiB at once and 79 GiB are free: disks there are not thin/);
  });

  it("are on no storage that holds no disks, and only where VMs are made", () => {
    const unfit = { what: "the storage may hold no disks of VMs: its content is iso", todo: "name another" };
    const places = [place("pve1"), { ...place("pve2"), found: { freeGiB: 1000, shared: false, unfit } }];
    const check = (...slots: SlotPlan[]) =>
      refused(() => admit(places, 1, copiesOn("pve1", "pve2"), [{ placement, made: slots }]));
    assert.deepEqual(check(made(0)), []);
    assert.deepEqual(check(made(0), made(1)), [`${unfit.what} | evergreen:site.storage: local on pve2`]);
  });

  it("are those of each pool", () => {
    const own = {
      ...placement,
      pool: "edge",
      where: { ...placement.where, hosts: "evergreen:pools[1].hosts" },
      hosts: ["pve3"],
      storage: "zfs",
    };
    const vms = [
      { placement, made: [made(0)] },
      { placement: own, made: [made(1)] },
    ];
    const check = (...found: CandidateHost[]) =>
      refused(() => admit([place("pve1"), place("pve2"), ...found], 1, copiesOn("pve1", "pve2", "pve3"), vms));
    assert.deepEqual(check(place("pve3", 40, false, "zfs")), []);
    assert.match(check(place("pve3", 39, false, "zfs")).join(), /storage zfs on pve3$/);
    assert.match(
      check({ ...silent("pve3"), storage: "zfs" }).join(),
      /^no Proxmox host .*evergreen:pools\[1\].hosts: pve3$/,
    );
  });

  for (const [title, places, slots, storageOvercommit, problems] of rooms) {
    it(`are ${problems.length > 0 ? "refused" : "right"} when ${title}`, () => {
      const check = () => admit(places, storageOvercommit, copiesOn("pve1", "pve2"), [{ placement, made: slots }]);
      assert.deepEqual(refused(check), problems);
    });
  }

  it("are those of the older image too", () => {
    const found = refused(() =>
      admit([place("pve2")], 1, copiesOn("pve2"), [{ placement, made: [made(0, 40, OLD), made(1)] }]),
    );
    assert.match(found.join("\n"), /^the template .*v1\.0\.0 is not on pve2/);
    assert.equal(found.length, 1);
  });
});
