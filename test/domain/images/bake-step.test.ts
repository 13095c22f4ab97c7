import assert from "node:assert/strict";
import {
  BAKE_TAGS,
  bakeNote,
  cdNameOf,
  cdOf,
  imageOf,
  markOf,
  isCdOf,
  macOf,
  notedBake,
  notesWith,
  PHASES,
  templateTagsOf,
  vmNameOf,
  type BakeMark,
  type BakeOrder,
  type Phase,
} from "../../../src/domain/images/bake.ts";
import { mayDiscard, nextStep, type ObservedBake, type ObservedBakeVm } from "../../../src/domain/images/bake-step.ts";
import { waitFor } from "../../../src/domain/images/bake-waits.ts";
import { recordNote } from "../../../src/domain/images/template-identity.ts";
import { PUBLIC_SOURCES } from "../../../src/domain/images/user-data.ts";
import { definitionFixture, sha } from "../../support/image-definition.ts";

const order: BakeOrder = {
  definition: definitionFixture,
  digest: sha("e"),
  folder: "images/ubuntu-24-04-rke2",
  shell: "images/bake",
  sources: PUBLIC_SOURCES,
  vmid: 9100,
  range: { first: 9100, last: 9199 },
  base: "images:import/noble.qcow2",
  place: {
    ...{ host: "pve1", pool: "templates", storage: "local", imageStorage: "images", bridge: "vmbr0" },
    ...{ cores: 2, memoryMiB: 4096 },
  },
  evidence: "bakes",
};

const mark = (phase: Phase, changes: Partial<BakeMark> = {}) => bakeNote({ ...markOf(order, phase), ...changes });

/** A VM of the bake in a phase: off, with its CD, and as large as it shall be. */
const vmIn = (phase: Phase, changes: Partial<ObservedBakeVm> = {}): ObservedBakeVm => ({
  ...{ host: "pve1", name: vmNameOf(order), notes: mark(phase), tags: BAKE_TAGS, uuid: "u", config: "c" },
  ...{ isTemplate: false, isRunning: false, cd: cdOf(order), diskGiB: 12, isBase: false },
  ...changes,
});
const withoutCd = (vm: ObservedBakeVm): ObservedBakeVm => {
  const { cd, ...others } = vm;
  assert.ok(cd);
  return others;
};
const template = (changes: Partial<ObservedBakeVm> = {}) =>
  withoutCd(vmIn("sealed", { isTemplate: true, isBase: true, ...changes }));
const published = (changes: Partial<ObservedBakeVm> = {}) =>
  template({ name: imageOf(order), tags: templateTagsOf(order), notes: mark("baked"), ...changes });

const own = cdOf(order);
const stale = "images:iso/evergreen-bake-9100-0123456789abcdef.iso";
const see = (vm?: ObservedBake["vm"], cds: string[] = [own], hasBase = true): ObservedBake => ({
  ...(vm === undefined ? {} : { vm }),
  cds,
  hasBase,
});

describe("the next step of a bake", () => {
  const steps: [when: string, observed: ObservedBake, step: string][] = [
    ["there is nothing", see(undefined, []), "upload"],
    ["its CD is there", see(), "create"],
    ["there is a CD of another image, of which no VM was made", see(undefined, [stale]), "remove-cd"],
    ["its VM is being made, and not in its pool yet", see("in-the-making"), "await-lock"],
    [
      "its VM is locked, and may have no notes yet",
      see(vmIn("made", { notes: "", name: "", lock: "create" })),
      "await-lock",
    ],
    ["its VM is backed up while it bakes", see(vmIn("begun", { lock: "backup" })), "await-lock"],
    ["its VM has the disk of the base", see(vmIn("made", { diskGiB: 3.5 })), "grow"],
    ["its VM was never started", see(vmIn("made")), "begin"],
    ["its VM was started, and not marked", see(vmIn("made", { isRunning: true, diskGiB: 3.5 })), "begin"],
    ["its guest bakes", see(vmIn("begun", { isRunning: true })), "await-bake"],
    ["its guest went off while it baked", see(vmIn("begun")), "discard"],
    ["its guest seals", see(vmIn("sealing", { isRunning: true })), "seal"],
    ["its guest went off while it sealed", see(vmIn("sealing")), "discard"],
    ["it is sealed", see(vmIn("sealed", { isRunning: true })), "shut-down"],
    ["it is sealed and off", see(vmIn("sealed")), "eject"],
    ["its CD is out, and still there", see(withoutCd(vmIn("sealed"))), "remove-cd"],
    ["its CD is gone", see(withoutCd(vmIn("sealed")), []), "convert"],
    ["its conversion was broken off", see(template({ isBase: false }), []), "discard"],
    ["it is a template, and has no name yet", see(template(), []), "publish"],
    ["it is a template with a CD", see({ ...template(), cd: own }), "eject"],
    ["its template is ready", see(published(), []), "done"],
    ["its template is ready, and an upload of a killed run came late", see(published()), "remove-cd"],
    ["its template has a record", see(published({ notes: `${mark("baked")}\n${recordNote(sha("f"))}` }), []), "done"],
    [
      "an older Evergreen has baked its template by other scripts",
      see(published({ notes: mark("baked", { digest: sha("1") }) }), []),
      "done",
    ],
    ["its template has lost a tag", see(published({ tags: ["evergreen"] }), []), "publish"],
    ["it was a template, and is none any more", see(published({ isTemplate: false }), []), "discard"],
  ];
  for (const [when, observed, step] of steps)
    it(`is ${step} when ${when}`, () => assert.equal(nextStep(order, observed).do, step));

  const refusals: [when: string, observed: ObservedBake, says: RegExp, its?: Partial<BakeOrder>][] = [
    ["the VMID is none of its range", see(), /VM 9099, which is none of the VMIDs of bakes/, { vmid: 9099 }],
    ["the VMID is taken by what it does not see", see("hidden"), /another VM has that VMID/],
    ["a VM without notes has the VMID", see(vmIn("made", { notes: "" })), /no bake of ours/],
    ["a VM with other notes has the VMID", see(vmIn("made", { notes: "my VM" })), /no bake of ours/],
    ["a copy of a bake has the VMID", see(vmIn("begun", { notes: mark("begun", { vmid: 9101 }) })), /no bake of ours/],
    ["its VM was renamed", see(vmIn("begun", { name: "mine" })), /"mine" has that VMID/],
    ["its notes have two bakes", see(vmIn("begun", { notes: `${mark("begun")}\n${mark("made")}` })), /no bake of ours/],
    [
      "another content of the same name bakes there",
      see(vmIn("begun", { notes: mark("begun", { digest: sha("1") }) })),
      /is being baked as VM 9100/,
    ],
    [
      "another content of the same name was baked",
      see(published({ notes: mark("baked", { digest: sha("1"), content: sha("2") }) })),
      /was baked as VM 9100/,
    ],
    [
      "a bake by other scripts is not at its end",
      see(template({ notes: mark("sealed", { digest: sha("1") }) })),
      /was baked as VM 9100/,
    ],
    [
      "another image was baked there",
      see(published({ name: "other-v1.0.0", notes: mark("baked", { image: "other-v1.0.0" }) })),
      /^other-v1\.0\.0 was baked/,
    ],
    [
      "a VM of the host has its name",
      { ...see(), twin: { vmid: 7, host: "pve1" } },
      /a VM is called ubuntu-24-04-rke2-v1\.2\.0 already/,
    ],
    ["the base image is not there", see(undefined, [], false), /base image .* is not where it should be/],
  ];
  for (const [when, observed, says, its] of refusals)
    it(`is a refusal when ${when}`, () => {
      const step = nextStep({ ...order, ...its }, observed);
      assert.ok(step.do === "refuse");
      assert.match(step.problem.what, says);
    });

  it("never discards what is not of this bake, what is locked, or a template that nodes may have", () => {
    assert.ok(PHASES.slice(0, -1).every((phase) => mayDiscard(order, vmIn(phase, { isRunning: true }))));
    assert.ok(mayDiscard(order, template({ isBase: false })));
    const kept = [
      published(),
      published({ tags: [] }),
      vmIn("begun", { lock: "backup" }),
      vmIn("begun", { name: "mine" }),
      vmIn("begun", { notes: mark("begun", { digest: sha("1") }) }),
      vmIn("begun", { notes: mark("begun", { vmid: 9101 }) }),
    ];
    assert.deepEqual(
      kept.map((vm) => mayDiscard(order, vm)),
      kept.map(() => false),
    );
    assert.ok(!mayDiscard({ ...order, vmid: 9200 }, vmIn("begun")));
  });
});

describe("the names of a bake", () => {
  it("are of its image, its VMID and its digest", () => {
    assert.equal(imageOf(order), "ubuntu-24-04-rke2-v1.2.0");
    assert.equal(vmNameOf(order), "bake-ubuntu-24-04-rke2-v1.2.0");
    assert.equal(cdNameOf(order), "evergreen-bake-9100-eeeeeeeeeeeeeeee.iso");
    assert.deepEqual(templateTagsOf(order), ["eg-image", "evergreen", "rke2-v1.34.4+rke2r1"]);
    assert.match(macOf(order), /^BC:24:11(:[0-9A-F]{2}){3}$/);
    assert.notEqual(macOf(order), macOf({ ...order, vmid: 9101 }));
  });

  it("tell the CDs of one VMID from those of another, and from files of people", () => {
    const cds = [
      own,
      stale,
      "images:iso/evergreen-bake-910-0123456789abcdef.iso",
      "images:iso/evergreen-bake-9100.iso",
    ];
    assert.deepEqual(
      cds.filter((volume) => isCdOf(order, volume)),
      [own, stale],
    );
  });

  it("stay in the notes of a VM beside what others have written there", () => {
    const notes = notesWith(`mine\n${mark("made")}\nyours`, markOf(order, "begun"));
    assert.equal(notes, `${mark("begun")}\nmine\nyours`);
    assert.equal(notedBake(notes)?.phase, "begun");
    assert.equal(notedBake(notes.replace(": begun", ": resting")), undefined);
  });
});

describe("the waits of a bake", () => {
  it("have the time that the guest itself gives a stage, and more", () => {
    assert.deepEqual(waitFor("bake", "rke2", true), {
      awaited: "the end of the stage rke2",
      stage: "rke2",
      seconds: 3780,
    });
    assert.deepEqual(waitFor("seal", "trim", true), {
      awaited: "the end of the stage trim",
      stage: "trim",
      seconds: 780,
    });
  });

  it("have the time of all stages in which a guest may be silent, until its agent has answered", () => {
    assert.equal(waitFor("bake", undefined, false).seconds, 900 + 600 + 600 + 3600 + 180);
    assert.match(waitFor("bake", undefined, false).awaited, /quiet, archive, packages/);
    assert.equal(waitFor("bake", undefined, true).seconds, 900);
    assert.equal(waitFor("seal", undefined, true).stage, "sources");
  });
});
