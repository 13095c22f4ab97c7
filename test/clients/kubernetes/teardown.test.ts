import assert from "node:assert/strict";
import type { Kubernetes } from "../../../src/clients/kubernetes/client.ts";
import { announceTeardown, isBeingTornDown, withdrawTeardown } from "../../../src/clients/kubernetes/teardown.ts";
import { readGoingAway, writeGoingAway } from "../../../src/clients/kubernetes/cluster-record.ts";
import { tagsOf } from "../../../src/clients/proxmox/tags.ts";
import type { ListedVm } from "../../../src/clients/proxmox/vms.ts";
import { fakeProxmox, type Answer } from "../proxmox/fake.ts";
import { freshCluster } from "./fake.ts";

const since = "2026-11-28T20:00:00.000Z";
const line = `Evergreen: the cluster of this VM is being destroyed, since ${since}`;
const site = { cluster: "demo", serverPool: "servers", proxmoxPool: "nodes", registrationAddress: "127.9.0.5" };

const server = (slot: number): ListedVm => {
  const generation = "0a1b2c3d";
  const tags = tagsOf({ cluster: "demo", pool: "servers", slot, generation });
  const name = `demo-servers-${slot}-${generation}`;
  return { vmid: 1000 + slot, host: "pve1", name, status: "stopped", template: false, tags, pool: "nodes" };
};
const vms = [0, 1, 2].map(server);

/** `locked` can be read and not written, `unreadable` neither. */
type Notes = Record<number, string | undefined>;

/** The VMs of three servers, all of them off. */
async function with3<T>(
  notes: Notes,
  work: (pve: Parameters<typeof isBeingTornDown>[0]["pve"]) => Promise<T>,
): Promise<T> {
  const now = new Map(vms.map(({ vmid }) => [vmid, notes[vmid]]));
  const answer = (vmid: number, method: string, parameters: Record<string, string>): Answer => {
    const note = now.get(vmid);
    if (note === "unreadable") return { status: 595, reason: "No route to host" };
    if (method === "GET") return { data: { description: note === "locked" ? line : note, digest: "d" } };
    if (note === "locked") return { status: 500, reason: "VM is locked (backup)" };
    now.set(vmid, parameters.description);
    return { data: null };
  };
  await using pve = await fakeProxmox(({ path, method, parameters }) =>
    answer(Number(/qemu\/(\d+)\/config$/.exec(path)?.[1]), method, parameters),
  );
  const result = await work(pve.client);
  for (const [vmid, note] of now) notes[vmid] = note;
  return result;
}

describe("a cluster that is being destroyed", () => {
  let client: Kubernetes;
  freshCluster((_, itsClient) => (client = itsClient));

  for (const [title, { inCluster, notes, asked = true }, goes] of [
    ["it says so itself", { inCluster: true, notes: {} }, true],
    [
      "its VMs say so, left from a destroy that was broken off",
      { inCluster: false, notes: { 1000: line, 1001: line, 1002: line } },
      false,
    ],
    [
      "it cannot be asked, and every VM of a server says so",
      { inCluster: false, notes: { 1000: line, 1001: line, 1002: line }, asked: false },
      true,
    ],
    [
      "it cannot be asked, and one VM says nothing",
      { inCluster: true, notes: { 1000: line, 1002: line }, asked: false },
      false,
    ],
    ["it cannot be asked, and no VM says anything", { inCluster: true, notes: {}, asked: false }, false],
  ] as [string, { inCluster: boolean; notes: Notes; asked?: boolean }, boolean][]) {
    it(`is ${goes ? "one" : "none"} when ${title}`, async () => {
      if (inCluster) await writeGoingAway(client, since);
      const found = with3(notes, (pve) => isBeingTornDown({ pve, site, vms, client: asked ? client : undefined }));
      assert.equal(await found, goes);
    });
  }

  it("is none without a server's VM, and not known when the notes of one cannot be read", async () => {
    await with3({}, async (pve) =>
      assert.equal(await isBeingTornDown({ pve, site, vms: [], client: undefined }), false),
    );
    const unreadable = with3({ 1001: "unreadable" }, (pve) => isBeingTornDown({ pve, site, vms, client: undefined }));
    await assert.rejects(unreadable, /No route to host/);
  });

  it("is announced on every VM, also on those that are off, and then in the cluster", async () => {
    const notes: Notes = {};
    assert.equal(await with3(notes, (pve) => announceTeardown({ pve, site, vms, client }, since)), 3);
    assert.deepEqual(notes, { 1000: line, 1001: line, 1002: line });
    assert.equal(await readGoingAway(client), true);
  });

  it("is announced on every VM also when an update was killed while it took an earlier mark back", async () => {
    await writeGoingAway(client, since);
    const notes: Notes = { 1001: line };
    await with3(notes, (pve) => announceTeardown({ pve, site, vms, client }, since));
    assert.deepEqual(notes, { 1000: line, 1001: line, 1002: line });
  });

  it("is announced nowhere when one VM cannot be marked, which is named", async () => {
    const notes: Notes = { 1002: "unreadable" };
    const announced = with3(notes, async (pve) => {
      await assert.rejects(
        announceTeardown({ pve, site, vms, client }, since),
        /the notes of demo-servers-2-0a1b2c3d cannot be written: No route to host/,
      );
    });
    await announced;
    assert.deepEqual([notes[1000], notes[1001]], [undefined, undefined]);
    assert.equal(await readGoingAway(client), false);
  });

  it("keeps its mark while one VM keeps its own, which is named; after that nothing is left of it", async () => {
    await writeGoingAway(client, since);
    await with3({ 1000: line, 1001: "locked" }, async (pve) => {
      await assert.rejects(
        withdrawTeardown({ pve, site, vms, client }),
        /the notes of demo-servers-1-0a1b2c3d cannot be written: VM is locked \(backup\)/,
      );
    });
    assert.equal(await readGoingAway(client), true, "the next run tries again");
    await writeGoingAway(client, undefined);
    const left = with3({ 1001: "unreadable" }, (pve) => withdrawTeardown({ pve, site, vms, client }));
    assert.equal(await left, false, "an update does not wait for the host of a server that says nothing");
    for (const asked of [client, undefined])
      await with3({ 1001: "locked" }, async (pve) => {
        const back = withdrawTeardown({ pve, site, vms, client: asked });
        await assert.rejects(back, /cannot be written/, "while the cluster cannot be asked its VMs decide");
      });
    await writeGoingAway(client, since);
    const notes: Notes = { 1001: line };
    assert.equal(await with3(notes, (pve) => withdrawTeardown({ pve, site, vms, client })), true);
    assert.deepEqual(notes, { 1000: undefined, 1001: undefined, 1002: undefined });
    assert.equal(await readGoingAway(client), false);
    assert.equal(await with3({}, (pve) => withdrawTeardown({ pve, site, vms, client })), false);
  });
});
