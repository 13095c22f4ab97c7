import assert from "node:assert/strict";
import { Deadline, DeadlineError } from "../../../src/runtime/deadline.ts";
import { IdentityError } from "../../../src/clients/proxmox/identity.ts";
import { awaitUnlocked, VmBusy, writeStanding } from "../../../src/clients/proxmox/settle.ts";
import type { VmConfig } from "../../../src/clients/proxmox/vms.ts";
import { fakeProxmox, type Answer, type Seen } from "./fake.ts";

const uuid = "6b0124f9-0000-4000-8000-000000000101";
const config: VmConfig = {
  vmid: 1101,
  host: "pve1",
  name: "demo-workers-2-0a1b2c3d",
  uuid,
  tags: ["eg-member", "hand"],
  template: false,
  onBoot: true,
  digest: "d0",
};
const [on, off] = [
  { onBoot: true, hasMemberTag: true },
  { onBoot: false, hasMemberTag: false },
];
const expected = { vmid: 1101, name: config.name, tags: [], uuid };
const said = (more: object = {}): Answer => ({
  data: { name: config.name, smbios1: `uuid=${uuid}`, tags: "eg-member;hand", onboot: 1, digest: "d1", ...more },
});
const refused = (reason: string): Answer => ({ status: 500, reason });
const gone = refused("Configuration file 'nodes/pve1/qemu-server/1101.conf' does not exist");
const list: Answer = { data: [{ type: "qemu", vmid: 1101, node: "pve2", status: "running" }] };
const locked = refused("VM is locked (backup)");

/** A Proxmox whose first answers to a write are these, and that takes the next one. */
function taking(writes: Answer[], reads: (seen: Seen) => Answer = () => said()) {
  return fakeProxmox((seen, count) => {
    if (seen.path === "/cluster/resources") return list;
    if (seen.method === "PUT") return writes[count - 1] ?? { data: null };
    return reads(seen);
  });
}
const put = (seen: Seen[]) =>
  seen.filter(({ method }) => method === "PUT").map(({ path, parameters }) => [path, parameters]);

describe("a write to a VM that Proxmox may hold", () => {
  const passing: [string, Answer[]][] = [
    ["is locked by a backup", [locked]],
    ["is held by a task", [refused("can't lock file '/var/lock/qemu-server/lock-1101.conf' - got timeout")]],
    [
      "was changed by somebody else",
      [refused("detected modified configuration - file changed by other user? Try again.")],
    ],
    ["is in a Proxmox cluster without a quorum", [refused("cluster not ready - no quorum?")]],
    [
      "is on a file system that is read-only",
      [refused("unable to open file '/etc/pve/x.conf.tmp.1' - Permission denied")],
    ],
  ];
  for (const [title, writes] of passing) {
    it(`is made again when the VM ${title}, for the VM that is proved anew`, async () => {
      await using pve = await taking(writes);
      const done = await writeStanding(pve.client, config, expected, on, new Deadline("x", 10));
      assert.deepEqual(put(pve.seen), [
        ["/nodes/pve1/qemu/1101/config", { onboot: "1", digest: "d0" }],
        ["/nodes/pve1/qemu/1101/config", { onboot: "1", digest: "d1" }],
      ]);
      assert.equal(done.digest, "d1");
    });
  }

  for (const [title, tags, standing, change] of [
    ["comes beside those of people", "hand", on, { onboot: "1", tags: "hand;eg-member" }],
    ["comes alone", "", on, { onboot: "1", tags: "eg-member" }],
    ["goes alone", "eg-member", off, { onboot: "0", delete: "tags" }],
    ["is gone", "hand", off, { onboot: "0" }],
    [
      "comes with that of its cluster's uid",
      "",
      { ...on, uidTag: "eg-uid-0" },
      { onboot: "1", tags: "eg-member;eg-uid-0" },
    ],
    [
      "is there, and lacks that uid",
      "eg-member",
      { ...on, uidTag: "eg-uid-0" },
      { onboot: "1", tags: "eg-member;eg-uid-0" },
    ],
    ["is there with that uid", "eg-uid-0;eg-member", { ...on, uidTag: "eg-uid-0" }, { onboot: "1" }],
    ["goes, while that uid stays", "eg-uid-0;eg-member", off, { onboot: "0", tags: "eg-uid-0" }],
    ["stays when the VM is turned off with its cluster", "eg-member", { ...on, onBoot: false }, { onboot: "0" }],
  ] as const)
    it(`carries the tag of a member in the same request, which ${title}`, async () => {
      await using pve = await taking([]);
      const now = { ...config, tags: tags.split(";").filter(Boolean) };
      await writeStanding(pve.client, now, expected, standing, new Deadline("x", 10));
      assert.deepEqual(put(pve.seen), [["/nodes/pve1/qemu/1101/config", { ...change, digest: "d0" }]]);
    });

  it("writes the tags of the VM that is proved anew", async () => {
    await using pve = await taking([locked], () => said({ tags: "eg-member;new" }));
    await writeStanding(pve.client, config, expected, off, new Deadline("x", 10));
    assert.deepEqual(put(pve.seen).at(-1), [
      "/nodes/pve1/qemu/1101/config",
      { onboot: "0", tags: "new", digest: "d1" },
    ]);
  });

  it("is not even tried while the VM says that it is locked", async () => {
    await using pve = await taking([]);
    await writeStanding(pve.client, { ...config, lock: "migrate" }, expected, on, new Deadline("x", 10));
    assert.equal(put(pve.seen).length, 1);
    assert.equal(pve.seen[0]?.method, "GET");
  });

  it("is asked for leave after each wait, and is not made without it", async () => {
    await using pve = await taking([locked]);
    let asked = 0;
    const mayWrite = () => {
      asked += 1;
      return asked === 1 ? Promise.resolve() : Promise.reject(new Error("it votes by now"));
    };
    const written = writeStanding(pve.client, config, expected, off, new Deadline("x", 10), mayWrite);
    await assert.rejects(written, /it votes by now/);
    assert.equal(put(pve.seen).length, 1, "the write that met the lock");
  });

  it("goes to the host that has the VM now", async () => {
    const on = ({ path }: Seen) => (path.startsWith("/nodes/pve2/") ? said() : gone);
    await using pve = await taking([gone], on);
    const done = await writeStanding(pve.client, config, expected, off, new Deadline("x", 10));
    assert.equal(done.host, "pve2");
    assert.deepEqual(put(pve.seen).at(-1), [
      "/nodes/pve2/qemu/1101/config",
      { onboot: "0", tags: "hand", digest: "d1" },
    ]);
  });

  it("is given up in words that name the lock, and is no verdict", async () => {
    await using pve = await taking([locked, locked, locked, locked]);
    const failed = writeStanding(pve.client, config, expected, on, new Deadline("x", 1.5));
    await assert.rejects(failed, (error: unknown) => {
      assert.ok(error instanceof VmBusy && !(error instanceof DeadlineError));
      assert.match(error.message, /cannot be changed now: Proxmox has locked its VM \(backup\), for 1\.5 s/);
      return true;
    });
  });

  it("is never made to another VM that has the number by now", async () => {
    await using pve = await taking([locked], () => said({ smbios1: "uuid=00000000-0000-4000-8000-000000000101" }));
    await assert.rejects(writeStanding(pve.client, config, expected, on, new Deadline("x", 10)), IdentityError);
    assert.equal(put(pve.seen).length, 1);
  });

  it("is not repeated when it was refused for good, or when nobody knows whether it was made", async () => {
    for (const answer of [{ status: 403, reason: "Permission check failed" }, "hang up"] as const) {
      await using pve = await taking([answer]);
      await assert.rejects(writeStanding(pve.client, config, expected, on, new Deadline("x", 10)));
      assert.equal(put(pve.seen).length, 1);
    }
  });
});

describe("a VM that the engine is about to destroy", () => {
  it("is waited for while a backup has it", async () => {
    let looks = 0;
    await using pve = await taking([], () => {
      looks += 1;
      return said(looks < 2 ? { lock: "backup" } : {});
    });
    const free = await awaitUnlocked(pve.client, { ...config, lock: "backup" }, expected, new Deadline("x", 10));
    assert.deepEqual([free.lock, looks], [undefined, 2]);
  });

  it("is left alone when another VM has its number once the backup is over", async () => {
    await using pve = await taking([], () => said({ smbios1: "uuid=00000000-0000-4000-8000-000000000101" }));
    const free = awaitUnlocked(pve.client, { ...config, lock: "backup" }, expected, new Deadline("x", 10));
    await assert.rejects(free, IdentityError);
  });

  it("is left alone when the backup does not end", async () => {
    await using pve = await taking([], () => said({ lock: "backup" }));
    const failed = awaitUnlocked(pve.client, { ...config, lock: "backup" }, expected, new Deadline("x", 1.2));
    await assert.rejects(failed, VmBusy);
  });
});
