import assert from "node:assert/strict";
import {
  missingRights,
  neededRights,
  findPermissionProblems,
  type Purpose,
  type Rights,
} from "../../../src/clients/proxmox/permissions.ts";
import { fakeProxmox } from "./fake.ts";

const site = { proxmoxPool: "nodes", templatePool: "templates", storage: "local", bridge: "vmbr0" };

/** Exactly what is needed, taking the first of several alternatives. */
function exact(major: number, purpose: Purpose = "replace"): Record<string, Record<string, boolean>> {
  const rights: Record<string, Record<string, boolean>> = {};
  for (const { path, anyOf } of neededRights(site, { major }, purpose)) (rights[path] ??= {})[anyOf[0] ?? ""] = true;
  return rights;
}

const purposes: [number, Purpose, number][] = [
  [8, "replace", 17],
  [9, "replace", 18],
  [8, "read", 4],
  [9, "read", 4],
];

describe("permissions", () => {
  for (const [major, purpose, count] of purposes) {
    it(`to ${purpose} are ${count} privileges on Proxmox ${major}, none on / and none twice`, () => {
      const needs = neededRights(site, { major }, purpose);
      assert.equal(new Set(needs.flatMap(({ anyOf }) => anyOf[0] ?? [])).size, count);
      assert.equal(new Set(needs.map(({ path, anyOf }) => `${path} ${anyOf[0] ?? ""}`)).size, needs.length);
      assert.ok(needs.every(({ path }) => path !== "/"));
      assert.deepEqual(missingRights(exact(major, purpose), needs), []);
    });

    it(`to ${purpose} on Proxmox ${major} that lack one name exactly that one, with its path`, () => {
      for (const need of neededRights(site, { major }, purpose)) {
        const rights = exact(major, purpose);
        delete rights[need.path]?.[need.anyOf[0] ?? ""];
        assert.deepEqual(missingRights(rights, neededRights(site, { major }, purpose)), [need]);
      }
    });
  }

  it("of the hardware that is asked for are needed to replace, and no bridge that no pool is on", () => {
    const hardware = [
      {
        networks: [{ bridge: "vmbr1", model: "virtio", vlan: 20 }],
        disks: [{ name: "data", sizeGiB: 1, storage: "ssd" }],
      },
      {
        networks: [{ bridge: "vmbr2", model: "virtio" }],
        devices: [{ kind: "pci" as const, mapping: "gpu", pcie: true }],
      },
    ];
    const paths = (more: object) =>
      neededRights({ ...site, ...more }, { major: 9 }, "replace").map(
        ({ path, anyOf }) => `${path} ${anyOf.join("|")}`,
      );
    const [plain, asked] = [paths({}), paths({ hardware })];
    assert.deepEqual(
      plain.filter((path) => !asked.includes(path)),
      ["/sdn/zones/localnetwork/vmbr0 SDN.Use"],
    );
    assert.deepEqual(asked.filter((path) => !plain.includes(path)).toSorted(), [
      "/mapping/pci/gpu Mapping.Use",
      "/sdn/zones/localnetwork/vmbr1/20 SDN.Use",
      "/sdn/zones/localnetwork/vmbr2 SDN.Use",
      "/storage/ssd Datastore.AllocateSpace",
      "/storage/ssd Datastore.Audit",
    ]);
    assert.deepEqual(paths({ hardware: [{}, ...hardware] }).filter((path) => path.includes("vmbr0")).length, 1);
  });

  it("on a network are found in any zone where it may be a VNet, and in the one that the configuration names", () => {
    const lacking = (granted: string, card: object) => {
      const networks = [{ bridge: "vnet1", model: "virtio", ...card }];
      const needs = neededRights({ ...site, hardware: [{ networks }] }, { major: 9 }, "replace");
      const rights: Rights = { ...exact(9), [granted]: { "SDN.Use": true } };
      return missingRights(rights, needs).map(({ path }) => path);
    };
    assert.deepEqual(lacking("/sdn/zones/campus/vnet1", {}), []);
    assert.deepEqual(lacking("/sdn/zones/campus/vnet1", { vlan: 20 }), []);
    assert.deepEqual(lacking("/sdn", {}), []);
    assert.deepEqual(lacking("/sdn/zones/campus/vnet2", {}), ["/sdn/zones/localnetwork/vnet1"]);
    assert.deepEqual(lacking("/sdn/zones/campus/vnet1", { zone: "dmz" }), ["/sdn/zones/dmz/vnet1"]);
  });

  it("to replace are enough to look, and not the other way round", () => {
    for (const major of [8, 9]) {
      assert.deepEqual(missingRights(exact(major, "replace"), neededRights(site, { major }, "read")), []);
      const lacking = missingRights(exact(major, "read"), neededRights(site, { major }, "replace"));
      assert.ok(lacking.some(({ anyOf }) => anyOf.includes("VM.Allocate")));
    }
  });

  it("are handed down only by privileges that propagate, and hidden by a nearer entry", () => {
    const audit = [{ path: "/pool/nodes", anyOf: ["VM.Audit"], why: "" }];
    const cases: [Rights, number][] = [
      [{ "/": { "VM.Audit": true } }, 0],
      [{ "/": { "VM.Audit": false } }, 1],
      [{ "/": { "VM.Audit": true }, "/pool": { "Pool.Audit": true } }, 1],
      [{ "/pool/nodes": { "VM.Audit": false } }, 0],
      [{ "/pool/nodes": {}, "/": { "VM.Audit": true } }, 1],
      [{}, 1],
    ];
    for (const [rights, missing] of cases)
      assert.equal(missingRights(rights, audit).length, missing, JSON.stringify(rights));
  });

  it("take VM.GuestAgent.Unrestricted for the parts of it, and VM.Monitor only before 9", async () => {
    const rights = exact(8);
    await using pve = await fakeProxmox(({ path }) => ({ data: path === "/version" ? { version: "9.2.1" } : rights }));
    const lacking = await findPermissionProblems(pve.client, site, "replace");
    assert.deepEqual(
      lacking.map(({ what }) => /VM\.GuestAgent\.\w+/.exec(what)?.[0]),
      ["VM.GuestAgent.FileRead", "VM.GuestAgent.FileWrite"],
    );
    assert.ok(lacking.every(({ where }) => where === "/pool/nodes"));
    (rights["/pool/nodes"] ??= {})["VM.GuestAgent.Unrestricted"] = true;
    assert.deepEqual(await findPermissionProblems(pve.client, site, "replace"), []);
  });
});
