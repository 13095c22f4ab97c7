import assert from "node:assert/strict";
import {
  imageSubjectOf,
  testsStatement,
  type ResourceDescriptor,
  type Statement,
} from "../../../src/domain/images/statements.ts";
import { BAKED, definition, proofOf, sha, statementsOf, subjectWith, template } from "../../evidence/image.ts";

describe("a statement about an image", () => {
  const { provenance, sbom, tests } = statementsOf(subjectWith());

  it("is about the definition, what the image holds, and the template", () => {
    for (const statement of [provenance, sbom, tests, proofOf()])
      assert.deepEqual(imageSubjectOf(JSON.parse(JSON.stringify(statement)) as Statement), subjectWith());
  });

  it("is about each copy of the template", () => {
    const copy = { ...template, uuid: "5d2a0b0c-7d3f-4e67-9b57-1d1f6b5f9a02" };
    const both = { ...subjectWith(), templates: [template, copy] };
    assert.deepEqual(imageSubjectOf(testsStatement(both, { passed: ["x"], failed: [], at: BAKED })), both);
  });

  const [first = {}, second = {}, third = {}] = provenance.subject;
  const others: [string, ResourceDescriptor[]][] = [
    ["without a definition", [second, third]],
    ["without contents", [first, third]],
    ["with two definitions", [first, first, second, third]],
    ["with two contents", [first, second, second, third]],
    [
      "with a template that is not the one of its digest",
      [first, second, { ...third, annotations: { ...third.annotations, uuid: "x" } }],
    ],
    [
      "with a template without its volumes",
      [first, second, { ...third, annotations: { ...third.annotations, volumes: undefined } }],
    ],
    [
      "with a definition without a version",
      [{ ...first, annotations: { ...first.annotations, version: 1 } }, second, third],
    ],
    [
      "with a definition without a digest",
      [{ name: "x", ...(first.annotations && { annotations: first.annotations }) }, second, third],
    ],
  ];
  for (const [name, subject] of others)
    it(`is none ${name}`, () => assert.equal(imageSubjectOf({ ...provenance, subject }), undefined));

  it("names all that a bake downloads, by digest where there is one", () => {
    const { resolvedDependencies } = provenance.predicate.buildDefinition;
    assert.deepEqual(resolvedDependencies, [
      { name: "base", uri: definition.base.url, digest: { sha256: sha("1") } },
      { name: "archive", uri: "https://snapshot.ubuntu.com/ubuntu/20260801T000000Z" },
      { name: "v1.34.4+rke2r1/rke2.linux-amd64.tar.gz", digest: { sha256: sha("2") } },
    ]);
  });

  it("says that tests passed only when some did, and none failed", () => {
    const result = (passed: string[], failed: string[]) =>
      testsStatement(subjectWith(), { passed, failed, at: BAKED }).predicate.result;
    assert.deepEqual([result(["a"], []), result([], []), result(["a"], ["b"])], ["PASSED", "FAILED", "FAILED"]);
  });
});
