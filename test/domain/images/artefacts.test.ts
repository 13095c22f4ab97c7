import assert from "node:assert/strict";
import { artefactFaults, kindOf, pluginsWithoutImages } from "../../../src/domain/images/artefacts.ts";
import type { Cni } from "../../../src/domain/images/definition.ts";
import { sha } from "../../support/image-definition.ts";

const artefacts = (...files: string[]) => files.map((file) => ({ file, sha256: sha("a") }));

/** Files of a release by the words that tell them apart: `program`, `sums`, `images-core.txt`. */
const named = (...names: string[]) =>
  artefacts(
    ...names.map((name) => {
      if (name === "program") return "rke2.linux-amd64.tar.gz";
      return name === "sums" ? "sha256sum-amd64.txt" : `rke2-${name.replace(".", ".linux-amd64.")}`;
    }),
  );

describe("the files of an RKE2 release", () => {
  it("are known by their names", () => {
    const cases: [file: string, kind: ReturnType<typeof kindOf>][] = [
      ["rke2.linux-amd64.tar.gz", { kind: "program", architecture: "amd64" }],
      ["rke2-images.linux-arm64.tar.zst", { kind: "archive", set: "", architecture: "arm64" }],
      ["rke2-images-core.linux-amd64.tar.gz", { kind: "archive", set: "core", architecture: "amd64" }],
      ["rke2-images-ingress-nginx.linux-amd64.txt", { kind: "list", set: "ingress-nginx", architecture: "amd64" }],
      ["sha256sum-arm64.txt", { kind: "sums", architecture: "arm64" }],
      ["rke2-images-all.linux-amd64.txt", undefined],
      ["rke2.linux-amd64", undefined],
      ["rke2.linux-amd64.tar.zst", undefined],
      ["rke2.windows-amd64.tar.gz", undefined],
      ["../rke2.linux-amd64.tar.gz", undefined],
    ];
    for (const [file, kind] of cases) assert.deepEqual(kindOf(file), kind, file);
  });

  it("suffice for an installation without a network, or it is said what is missing", () => {
    type Case = [title: string, files: string[], faults: RegExp[]];
    const cases: Case[] = [
      ["all in one archive", ["program", "images.tar.zst", "images.txt"], []],
      ["core and a plugin, lists in the sums", ["program", "images-core.tar.zst", "images-canal.tar.zst", "sums"], []],
      [
        "only some lists",
        ["program", "images-core.tar.gz", "images-core.txt", "images-cilium.tar.gz"],
        [/cilium.*without its list/],
      ],
      ["no programs", ["images.tar.zst", "images.txt"], [/programs of RKE2/]],
      ["nothing", [], [/programs of RKE2/, /images of RKE2 itself/]],
      ["a plugin alone", ["program", "images-canal.tar.zst", "sums"], [/images of RKE2 itself/]],
      ["lists alone", ["program", "images-core.txt"], [/images of RKE2 itself/, /list of an archive/]],
      [
        "one set twice",
        ["program", "images-core.tar.zst", "images-core.tar.gz", "sums"],
        [/core.*tar\.gz has the container images of .*core.*tar\.zst/],
      ],
      ["a part of the whole", ["program", "images.tar.zst", "images-canal.tar.zst", "sums"], [/once more/]],
    ];
    for (const [title, files, expected] of cases) {
      const faults = artefactFaults({ artefacts: named(...files) });
      assert.equal(faults.length, expected.length, `${title}: ${JSON.stringify(faults)}`);
      for (const [index, says] of expected.entries()) assert.match(faults[index]?.what ?? "", says, title);
    }
  });

  it("hold the images of the plugins that the image is for", () => {
    const cases: [files: string[], cni: Cni[], without: Cni[]][] = [
      [["images.tar.zst"], ["canal"], []],
      [["images-core.tar.zst"], ["canal"], ["canal"]],
      [["images-core.tar.zst", "images-cilium.tar.zst"], ["multus", "cilium"], ["multus"]],
      [["images-core.tar.zst", "images-cilium.txt"], ["cilium"], ["cilium"]],
      [["images-core.tar.zst"], ["none"], []],
    ];
    for (const [files, cni, without] of cases)
      assert.deepEqual(pluginsWithoutImages({ artefacts: named(...files), cni }), without);
  });
});
