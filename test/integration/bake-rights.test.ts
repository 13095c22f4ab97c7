import assert from "node:assert/strict";
import { bakePrivileges, site } from "../../lab/proxmox/site.ts";
import { UserErrors } from "../../src/runtime/errors.ts";
import { labBake } from "../lab/support/bake-site.ts";
import { BakeStage } from "../support/bake-step.ts";

/** What only the download of the base image, or a proof, asks for; of two that do, either suffices for a bake. */
const ofOthers = new Set(["VM.Clone", "VM.Config.Cloudinit", "Pool.Audit", "Sys.AccessNetwork", "Datastore.Audit"]);

for (const [index, version] of (["8.4", "9.2"] as const).entries()) {
  describe(`before a bake, Proxmox VE ${version}`, function () {
    this.timeout(120_000);
    let stage: BakeStage;

    before(async () => {
      stage = await BakeStage.start(28_411 + index, version);
      await stage.lab.download(labBake());
    });
    afterEach(async () => stage.clear());
    after(async () => stage.stop());

    it("each privilege that a bake needs is asked for, before anything is made", async () => {
      const { dc } = stage.lab.bench;
      for (const [path, names] of Object.entries(bakePrivileges(version, { ...site, hosts: [site.node] })))
        for (const gone of names) {
          // The list of a storage is shown for either of the two.
          const isEither = path.endsWith(site.imageStorage) && gone === "Datastore.AllocateSpace";
          if (ofOthers.has(gone) || isEither) continue;
          const left = names.filter((name) => name !== gone);
          dc.grant(site.bakeToken, path, left, { role: "EvergreenBake" });
          const error = await stage.bake(stage.order()).catch((reason: unknown) => reason);
          assert.match(String(error), gone === "VM.Audit" ? /may not see the VMs/ : new RegExp(`lacks ${gone} `));
          dc.grant(site.bakeToken, path, names, { role: "EvergreenBake" });
          assert.deepEqual(stage.remains(), { vms: [], cds: [] }, gone);
        }
    });

    it("nothing else is asked for", async () => {
      const { dc } = stage.lab.bench;
      const all = bakePrivileges(version, { ...site, hosts: [site.node] });
      for (const [path, names] of Object.entries(all))
        dc.grant(
          site.bakeToken,
          path,
          names.filter((name) => !ofOthers.has(name)),
          { role: "EvergreenBake" },
        );
      await stage.bake(stage.order());
      for (const [path, names] of Object.entries(all)) dc.grant(site.bakeToken, path, names, { role: "EvergreenBake" });
    });

    const storages: [what: string, id: string, changes: object, says: RegExp][] = [
      ["thick LVM", site.storage, { type: "lvm" }, /local cannot have templates: its type is lvm/],
      ["without room", site.storage, { total: 5 * 1024 ** 3 }, /local has 0 GiB free, .* disk has 12 GiB/],
      ["without disks", site.storage, { content: ["iso"] }, /local does not take the content images/],
      ["without CDs", site.imageStorage, { content: ["import"] }, /images does not take the content iso/],
    ];
    for (const [what, id, changes, says] of storages)
      it(`a storage ${what} is named, before anything is made`, async () => {
        const storage = stage.lab.bench.dc.storages.get(id);
        assert.ok(storage);
        const before = { ...storage };
        Object.assign(storage, changes);
        const error = await stage.bake(stage.order()).catch((reason: unknown) => reason);
        Object.assign(storage, before);
        assert.ok(error instanceof UserErrors, String(error));
        assert.match(error.message, says);
        assert.deepEqual(stage.remains(), { vms: [], cds: [] });
      });
  });
}
