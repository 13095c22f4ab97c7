import assert from "node:assert/strict";
import { violationsAfter, violationsNow, type BakeFacts, type LeftFacts } from "./bake-rules.ts";

const image = "lab-image-v1.1.0";
const others = new Map([
  ["VM 9590 (theirs)", "off"],
  ["images:iso/theirs.iso", "8 bytes"],
]);
const template = { vmid: 9500, name: image, image, template: true };
const node = { vmid: 1100, name: "demo-workers-0", image, template: false };
const theirs = { vmid: 9590, name: "theirs", image: undefined, template: false };
const ended: BakeFacts = {
  ...{ image, vmid: 9500, proofVmid: 9599, isProved: true, others },
  vms: [template, node, theirs],
  files: [],
  disks: [{ volid: "local:9500/base-9500-disk-0.qcow2", vmid: 9500 }],
  options: new Map([
    ["name", image],
    ["scsi0", "local:9500/base-9500-disk-0.qcow2,size=12G"],
  ]),
  tasks: ["qmcreate", "resize", "qmstart", "qmshutdown", "qmtemplate", "qmclone"],
};
const nothing: LeftFacts = { logs: [], credentials: [] };
const withOption = (name: string, value: string) => ({ options: new Map([...ended.options, [name, value]]) });

describe("the watcher of bakes that are killed", () => {
  it("finds nothing in a bake that ended well, nor in one that goes on", () => {
    assert.deepEqual(violationsAfter(ended, others, nothing), []);
    const clone = { vmid: 9599, name: "proof", image, template: false };
    const proof: BakeFacts = { ...ended, isProved: false, vms: [template, clone, theirs] };
    assert.deepEqual(violationsNow(proof, others), []);
    const bake: BakeFacts = { ...ended, isProved: false, vms: [{ ...template, template: false }], tasks: ["qmcreate"] };
    assert.deepEqual(violationsNow(bake, others), []);
  });

  const atAnyMoment: [title: string, defect: Partial<BakeFacts>, found: RegExp][] = [
    [
      "a node of an image that nobody has proved",
      { isProved: false },
      /demo-workers-0 is made of .* nobody has proved/,
    ],
    ["a VM that is made twice", { tasks: [...ended.tasks, "qmcreate"] }, /is made 2 times: qmcreate/],
    ["an image that is made twice", { tasks: [...ended.tasks, "qmtemplate"] }, /is made 2 times: qmtemplate/],
    ["a VM of others that is gone", { others: new Map([...others].slice(1)) }, /VM 9590 \(theirs\), .* is gone/],
    ["a VM of others that runs", { others: new Map([...others, ["VM 9590 (theirs)", "runs"]]) }, /was changed/],
    ["a CD of others that is gone", { others: new Map([...others].slice(0, 1)) }, /theirs\.iso, .* is gone/],
  ];
  for (const [title, defect, found] of atAnyMoment)
    it(`finds ${title}`, () => {
      assert.match(violationsNow({ ...ended, ...defect }, others).join("\n"), found);
    });

  const atTheEnd: [title: string, defect: Partial<BakeFacts>, found: RegExp][] = [
    ["no template", { vms: [node, theirs] }, /VM 9500 is not the template/],
    ["a bake that is no template", { vms: [{ ...template, template: false }] }, /VM 9500 is not the template/],
    ["a template of another name", { vms: [{ ...template, name: "bake-lab" }] }, /VM 9500 is not the template/],
    ["a template without a record", { isProved: false, vms: [template] }, /has no record/],
    ["an image that was not made now", { tasks: [] }, /nobody has seen .* qmcreate\n.*qmtemplate/],
    ["the clone of the proof", { vms: [...ended.vms, { ...node, vmid: 9599 }] }, /the clone demo-workers-0 .* is left/],
    ["a CD", { files: ["images:iso/evergreen-bake-9500-0.iso"] }, /the file images:iso\S+ is left/],
    ["a snippet", { files: ["local:snippets/user-data"] }, /the file local:snippets\S+ is left/],
    ["a disk without its VM", { disks: [{ volid: "local:9599/vm-9599-cloudinit", vmid: 9599 }] }, /cloudinit is left/],
    ["a drive for CDs", withOption("ide2", "none,media=cdrom"), /the template has ide2/],
    ["a password", withOption("cipassword", "**********"), /the template has cipassword/],
  ];
  for (const [title, defect, found] of atTheEnd)
    it(`finds what is left: ${title}`, () => {
      assert.match(violationsAfter({ ...ended, ...defect }, others, nothing).join("\n"), found);
    });

  it("finds credentials in the state, and the log of a bake that a kill alone made fail", () => {
    const left = { credentials: ["the token of bakes"], logs: ["lab-image.log"] };
    const found = violationsAfter(ended, others, left);
    assert.match(found.join("\n"), /the state has the token of bakes\n.*has left the log lab-image\.log/);
  });
});
