import assert from "node:assert/strict";
import fc from "fast-check";
import type {
  Finding,
  FoundRecord,
  KeyValidity,
  SaidOrigin,
  SaidProof,
} from "../../../src/domain/images/found-record.ts";
import { trustProblems, type Demand, type ShownTemplate } from "../../../src/domain/images/trust.ts";
import type { ImageSubject } from "../../../src/domain/images/statements.ts";
import type { TemplateIdentity } from "../../../src/domain/images/template-identity.ts";

const NOW = new Date("2026-08-10T12:00:00Z");
const DAY = 86_400;
const key: KeyValidity = { name: "site-2026", from: "2026-01-01T00:00:00Z", until: "2026-12-31T00:00:00Z" };
const identity: TemplateIdentity = {
  name: "ubuntu-v1.2.0",
  uuid: "5d2a0b0c-7d3f-4e67-9b57-1d1f6b5f9a01",
  config: "c0",
  volumes: [{ id: "local:9001/base-9001-disk-0.qcow2", size: "10G" }],
};
const copy: TemplateIdentity = {
  ...identity,
  uuid: "5d2a0b0c-7d3f-4e67-9b57-1d1f6b5f9a02",
  volumes: [{ id: "local:9002/base-9002-disk-0.qcow2", size: "10G" }],
};
const subject: ImageSubject = {
  name: "ubuntu",
  version: "v1.2.0",
  definition: "d1",
  contents: "s1",
  templates: [identity, copy],
};
const said: SaidOrigin = { subject, at: "2026-08-01T10:00:00Z", content: "n1", stack: "evergreen/dev" };
const signed = <S>(statement: S, by = key): Finding<S> => ({ kind: "signed", key: by, statement });
const proof = (changes: Partial<SaidProof> = {}): SaidProof => ({
  ...{ subject, stack: "evergreen/dev", at: "2026-08-09T10:00:00Z", since: "2026-08-02T10:00:00Z", isPassed: true },
  ...changes,
});
const tests = { ...said, failed: [] as string[], isPassed: true };
const shown: ShownTemplate = { title: "template ubuntu-v1.2.0, VM 9001 on pve1", identity, record: "r1" };
const whole: FoundRecord = {
  where: "records/r1",
  provenance: signed(said),
  sbom: signed(said),
  tests: signed(tests),
  proofs: [signed(proof())],
};
const demand: Demand = { store: "records", definition: "n1", unsigned: "refused" };
const proved: Demand = { ...demand, proof: { stacks: ["evergreen/dev"], seconds: 7 * DAY } };

const problems = (
  template: Partial<ShownTemplate>,
  record: Partial<FoundRecord>,
  asked: Partial<Demand> = {},
): string[] =>
  trustProblems({ ...shown, ...template }, { ...whole, ...record }, { ...proved, ...asked }, NOW).map(
    ({ what }) => what,
  );
const other = (changes: Partial<TemplateIdentity>) => ({ identity: { ...identity, ...changes } });
describe("what a rollout demands of a record", () => {
  it("is a record that is whole, signed, of this template, and proved for long enough", () => {
    assert.deepEqual(problems({}, {}), []);
    assert.deepEqual(problems({ identity: copy }, {}), [], "its copy on another host");
  });

  it("is a record at all", () => {
    const none = trustProblems({ ...shown, record: undefined }, undefined, demand, NOW);
    assert.match(none[0]?.what ?? "", /has no record/);
    const [gone] = trustProblems(shown, undefined, demand, NOW);
    assert.match(gone?.what ?? "", /sha256:r1 of the template is not in the store/);
    assert.match(gone?.where ?? "", /VM 9001 on pve1; records/);
  });

  const expired: KeyValidity = { name: "old", from: "2025-01-01T00:00:00Z", until: "2026-07-01T00:00:00Z" };
  const future = { ...said, at: "2026-08-10T12:06:00Z" };
  const refused: [string, Partial<ShownTemplate>, Partial<FoundRecord>, Partial<Demand>, RegExp][] = [
    [
      "without a signature",
      {},
      { provenance: { kind: "unsigned", statement: said } },
      {},
      /the provenance .* no signature/,
    ],
    ["whose SBOM has none", {}, { sbom: { kind: "unsigned", statement: said } }, {}, /the SBOM .* no signature/],
    ["of an unknown key", {}, { sbom: { kind: "unknownKey", id: "k9" } }, {}, /the SBOM .* key that is not trusted/],
    ["that was changed", {}, { tests: { kind: "altered" } }, {}, /the test results .* changed after it was signed/],
    ["of an expired key", {}, { provenance: signed(said, expired) }, {}, /when the key old was not valid/],
    ["of the future", {}, { provenance: signed(future) }, {}, /in the future/],
    ["of another definition", {}, {}, { definition: "n2" }, /baked from another definition .* ubuntu v1\.2\.0/],
    ["of a template that was renamed", other({ name: "prod" }), {}, {}, /renamed from ubuntu-v1\.2\.0 to prod/],
    ["of another VM with its name", other({ uuid: "0" }), {}, {}, /the VM 0 is not the template/],
    [
      "of a template that was moved",
      other({ volumes: copy.volumes }),
      {},
      {},
      /local:9002.* its record has local:9001/,
    ],
    [
      "of one whose disk has another size",
      other({ volumes: [{ id: "local:9001/base-9001-disk-0.qcow2", size: "11G" }] }),
      {},
      {},
      /\(11G\)/,
    ],
    ["of a template that was edited", other({ config: "c1" }), {}, {}, /edited/],
    ["of a copy that was edited", { identity: { ...copy, config: "c1" } }, {}, {}, /edited/],
    [
      "whose tests failed",
      {},
      { tests: signed({ ...tests, failed: ["boots"], isPassed: false }) },
      {},
      /failed its tests: boots/,
    ],
    ["whose tests did not run", {}, { tests: signed({ ...tests, isPassed: false }) }, {}, /none of them ran/],
    ["that no stack proved", {}, { proofs: [] }, {}, /no stack evergreen\/dev has proved/],
    ["that another stack proved", {}, { proofs: [signed(proof({ stack: "evergreen/lab" }))] }, {}, /no stack/],
    ["proved by an unknown key", {}, { proofs: [{ kind: "unknownKey", id: "k9" }] }, {}, /no stack/],
    ["proved without a signature", {}, { proofs: [{ kind: "unsigned", statement: proof() }] }, {}, /no stack/],
    ["proved by an expired key", {}, { proofs: [signed(proof(), expired)] }, {}, /no stack/],
    [
      "proved in another definition",
      {},
      { proofs: [signed(proof({ subject: { ...subject, definition: "d0" } }))] },
      {},
      /no stack/,
    ],
    [
      "proved with other contents",
      {},
      { proofs: [signed(proof({ subject: { ...subject, contents: "s0" } }))] },
      {},
      /no stack/,
    ],
    [
      "proved for less time",
      {},
      { proofs: [signed(proof({ since: "2026-08-03T12:00:01Z" }))] },
      {},
      /since 2026-08-03T12:00:01Z, which is less than 7 days/,
    ],
    [
      "found unfit since",
      {},
      { proofs: [signed(proof()), signed(proof({ at: "2026-08-10T08:00:00Z", isPassed: false }))] },
      {},
      /found the image unfit at 2026-08-10/,
    ],
  ];
  for (const [name, template, record, asked, message] of refused)
    it(`is no record ${name}`, () => {
      const found = problems(template, record, asked);
      assert.ok(
        found.some((what) => message.test(what)),
        found.join("\n"),
      );
    });

  it("accepts records without a signature only where the configuration says so, and nothing else with them", () => {
    const unsigned: Partial<FoundRecord> = {
      provenance: { kind: "unsigned", statement: said },
      sbom: { kind: "unsigned", statement: said },
      tests: { kind: "unsigned", statement: tests },
      proofs: [{ kind: "unsigned", statement: proof() }],
    };
    assert.deepEqual(problems({}, unsigned, { unsigned: "accepted" }), []);
    assert.equal(problems(other({ config: "c1" }), unsigned, { unsigned: "accepted" }).length, 1);
    const half = { ...unsigned, sbom: { kind: "altered" as const } };
    assert.match(problems({}, half, { unsigned: "accepted" })[0] ?? "", /changed after/);
  });

  it("takes the newest word of a stack, and asks every stack that the configuration names", () => {
    const recovered = [proof({ at: "2026-08-05T00:00:00Z", isPassed: false }), proof()].map((one) => signed(one));
    assert.deepEqual(problems({}, { proofs: recovered }), []);
    const both = { proof: { stacks: ["evergreen/dev", "evergreen/stage"], seconds: 0 } };
    assert.deepEqual(problems({}, {}, both).length, 1);
  });

  it("does not believe a statement about itself: each must be of this template", () => {
    const found = problems({}, { sbom: signed({ ...said, subject: { ...subject, templates: [copy] } }) });
    assert.equal(found.length, 1);
    assert.match(found[0] ?? "", /is not the template that its record is of/);
    for (const change of [{ definition: "d9" }, { contents: "s9" }]) {
      const [other, ...more] = problems({}, { tests: signed({ ...tests, subject: { ...subject, ...change } }) });
      assert.match(other ?? "", /the test results of the image and its provenance are of different images/);
      assert.deepEqual(more, []);
    }
  });

  it("holds for every age of a proof: refused before its time, and not after", () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 30 * DAY }), fc.integer({ min: 0, max: 30 * DAY }), (wanted, age) => {
        const since = new Date(NOW.getTime() - age * 1000).toISOString();
        const asked = { proof: { stacks: ["evergreen/dev"], seconds: wanted } };
        assert.equal(problems({}, { proofs: [signed(proof({ since }))] }, asked).length, age >= wanted ? 0 : 1);
      }),
    );
  });

  it("holds for every time of a signature: nothing outside of the key's validity", () => {
    const [from, until] = [Date.parse(key.from), Math.min(Date.parse(key.until ?? ""), NOW.getTime())];
    fc.assert(
      fc.property(fc.integer({ min: from - 1e10, max: until + 1e10 }), (time) => {
        const at = new Date(time).toISOString();
        const found = problems({}, { provenance: signed({ ...said, at }) });
        const isTrusted = time >= from && time <= Date.parse(key.until ?? "") && time <= NOW.getTime() + 300_000;
        assert.equal(found.length === 0, isTrusted, at);
      }),
    );
  });
});
