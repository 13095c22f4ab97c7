import assert from "node:assert/strict";
import { readGoingAwayNote, writeGoingAwayNote } from "../../../src/clients/proxmox/notes.ts";
import { fakeProxmox } from "./fake.ts";

const vm = { host: "pve1", vmid: 1000 };
const since = "2026-11-28T20:00:00.000Z";
const line = `Evergreen: the cluster of this VM is being destroyed, since ${since}`;

/** A VM with these notes. @returns what was read of it, and what was written: undefined when nothing was */
async function vmWith<T>(
  description: string | undefined,
  work: (pve: Parameters<typeof readGoingAwayNote>[0]) => Promise<T>,
) {
  await using pve = await fakeProxmox(({ method }) => ({
    data: method === "GET" ? { description, digest: "d1" } : null,
  }));
  const answer = await work(pve.client);
  const { parameters } = pve.seen.find(({ method }) => method === "PUT") ?? {};
  return { answer, parameters };
}

describe("the notes of a VM", () => {
  for (const [title, notes, found] of [
    ["there are none", undefined, undefined],
    ["somebody wrote others", "Evergreen is great\nowner: ops\n", undefined],
    ["our line is among others", `owner: ops\n${line}\n`, since],
    ["our line is alone", `${line}\n`, since],
  ] as const) {
    it(`say ${found ? "since when its cluster is being destroyed" : "nothing of us"} when ${title}`, async () => {
      assert.equal((await vmWith(notes, (pve) => readGoingAwayNote(pve, vm))).answer, found);
    });
  }

  for (const [title, notes, mark, written] of [
    [
      "puts our line first and keeps the others",
      "owner: ops\n",
      since,
      { description: `${line}\nowner: ops`, digest: "d1" },
    ],
    ["replaces an older one", `${line.replace("20:00", "10:00")}\n`, since, { description: line, digest: "d1" }],
    ["writes nothing that stands there", `${line}\n`, since, undefined],
    [
      "takes our line away and keeps the others",
      `${line}\nowner: ops\n`,
      undefined,
      { description: "owner: ops", digest: "d1" },
    ],
    ["takes the notes away when there are no others", `${line}\n`, undefined, { delete: "description", digest: "d1" }],
    ["leaves the notes of others alone", "owner: ops\n", undefined, undefined],
    ["leaves none alone", undefined, undefined, undefined],
  ] as const) {
    it(title, async () => {
      const { answer, parameters } = await vmWith(notes, (pve) => writeGoingAwayNote(pve, vm, mark));
      assert.deepEqual(parameters, written);
      assert.equal(answer, written !== undefined);
    });
  }
});
