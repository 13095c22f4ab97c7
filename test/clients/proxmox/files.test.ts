import assert from "node:assert/strict";
import { seedSite, site } from "../../../lab/proxmox/site.ts";
import type { Proxmox } from "../../../src/clients/proxmox/client.ts";
import { ProxmoxError } from "../../../src/clients/proxmox/errors.ts";
import { listFiles, putCd, removeFile } from "../../../src/clients/proxmox/files.ts";
import { TaskError } from "../../../src/clients/proxmox/task.ts";
import { Bench } from "../../lab/proxmox/bench.ts";
import { fakeProxmox, upid } from "./fake.ts";

const at = { host: site.node, storage: site.imageStorage };
const file = (name: string, content = "a CD\r\n--evergreen\r\n\0\xff") => ({
  name,
  bytes: Buffer.from(content, "latin1"),
});
/** As recorded: 8-baking. */
const absent = { status: 500, reason: "storage 'absent' does not exist" };

for (const [index, version] of (["8.4", "9.2"] as const).entries()) {
  describe(`files of a storage, ${version}`, () => {
    let bench: Bench;
    let pve: Proxmox;

    before(async () => {
      bench = await Bench.start(28_404 + index, { version });
      await seedSite(bench.dc, { templates: [] });
      pve = bench.client(site.bakeToken);
    });
    after(async () => bench.stop());

    it("are put there byte by byte, listed, and removed, more than once", async () => {
      const volume = await putCd(pve, at, file("one.iso"));
      assert.equal(volume, "images:iso/one.iso");
      assert.deepEqual(await listFiles(pve, at, "iso"), [{ volume, bytes: 21 }]);
      assert.deepEqual(bench.dc.storages.get(site.imageStorage)?.volumes.get(volume)?.data, file("one.iso").bytes);
      await putCd(pve, at, file("one.iso", "another"));
      assert.deepEqual(await listFiles(pve, at, "iso"), [{ volume, bytes: 7 }]);
      assert.deepEqual(await listFiles(pve, at, "import"), []);
      await removeFile(pve, at, volume);
      await removeFile(pve, at, volume);
      assert.deepEqual(await listFiles(pve, at, "iso"), []);
    });

    it("of half a MiB and more are put there: the limit is that of forms", async () => {
      const volume = await putCd(pve, at, file("large.iso", "x".repeat(3 << 20)));
      assert.equal((await listFiles(pve, at, "iso"))[0]?.bytes, 3 << 20);
      await removeFile(pve, at, volume);
    });

    it("are refused where the token may not write, and where there is no room", async () => {
      const other = { host: site.node, storage: site.storage };
      const isRefused = (error: unknown) => error instanceof ProxmoxError && error.status === 403;
      await assert.rejects(putCd(pve, other, file("x.iso")), isRefused);
      await assert.rejects(removeFile(pve, other, "local:iso/x.iso"), isRefused);
      const storage = bench.dc.storages.get(site.imageStorage);
      assert.ok(storage);
      const before = storage.baseUsed;
      storage.baseUsed = storage.total;
      await assert.rejects(putCd(pve, at, file("x.iso")), (error) => error instanceof TaskError);
      storage.baseUsed = before;
      assert.deepEqual(await listFiles(pve, at, "iso"), []);
    });
  });
}

describe("files of a storage", () => {
  it("are removed by their encoded ids", async () => {
    await using pve = await fakeProxmox(({ method }) =>
      method === "DELETE"
        ? { data: upid.replace("qmstart:101", "imgdel:local") }
        : { data: { status: "stopped", exitstatus: "OK" } },
    );
    await removeFile(pve.client, at, "images:iso/one.iso");
    assert.equal(pve.seen[0]?.path, "/nodes/pve1/storage/images/content/images:iso/one.iso");
  });

  it("of a storage that is not there are an error, and no empty list", async () => {
    await using pve = await fakeProxmox(() => absent);
    await assert.rejects(listFiles(pve.client, { host: "pve1", storage: "absent" }, "iso"), /does not exist/);
  });

  it("are never sent twice: the first may have come", async () => {
    await using pve = await fakeProxmox(() => "hang up");
    await assert.rejects(putCd(pve.client, at, file("x.iso")), /does not answer/);
    assert.equal(pve.seen.length, 1);
  });
});
