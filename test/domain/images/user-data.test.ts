import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import Ajv from "ajv";
import AjvDraft4 from "ajv-draft-04";
import formats from "ajv-formats";
import fc from "fast-check";
import { parse } from "yaml";
import { contentOf, readSeed } from "../../../lab/guest/seed.ts";
import { cidata } from "../../../src/domain/images/cidata.ts";
import { BAKE_DIRECTORY } from "../../../src/domain/images/stages.ts";
import {
  hasSoundImportCache,
  metaData,
  networkConfig,
  userData,
  type Bake,
} from "../../../src/domain/images/user-data.ts";
import { projectRoot } from "../../../src/runtime/project.ts";
import { bakeOf } from "../../support/bake.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

/** cloud-init's own schemas, of the version that the real guest has. */
function schemaOf(name: string): (value: unknown) => void {
  const text = readFileSync(join(projectRoot, "test/fixtures/cloud-init", name), "utf8");
  const schema = JSON.parse(text) as { $schema: string };
  const Validator = schema.$schema.includes("draft-04") ? AjvDraft4.default : Ajv.default;
  const ajv = formats.default(new Validator({ strict: false, allErrors: true }));
  const validate = ajv.compile(schema);
  return (value) => assert.ok(validate(value), ajv.errorsText(validate.errors));
}

/** What lies in the guest's directory of the bake once cloud-init has read the seed. */
function filesOf(bake: Bake): Map<string, { content: Buffer; permissions: string | undefined }> {
  const seed = readSeed(cidata({ "user-data": userData(bake), "meta-data": metaData("bake-1", "bake") }));
  return new Map(
    (seed.userData.write_files ?? []).map((file) => {
      assert.ok(file.path.startsWith(`${BAKE_DIRECTORY}/`), file.path);
      return [
        file.path.slice(BAKE_DIRECTORY.length + 1),
        { content: contentOf(file), permissions: file.permissions },
      ] as const;
    }),
  );
}

const textOf = (bake: Bake, path: string): string => {
  const file = filesOf(bake).get(path);
  assert.ok(file, `${path} is there`);
  return file.content.toString();
};

describe("the user-data of a bake", () => {
  const isCloudConfig = schemaOf("schema-cloud-config-v1.json");
  const isNetworkConfig = schemaOf("schema-network-config-v1.json");

  const word = fc.string({ unit: "binary-ascii", minLength: 1, maxLength: 12 }).filter((text) => !text.includes("\n"));
  const content = fc.uint8Array({ maxLength: 60 });

  it("is what cloud-init's schema allows, and brings every byte into the guest, whatever the definition has", () => {
    const property = fc.property(
      fc.record({
        packages: fc.array(word),
        hold: fc.array(word),
        sysctl: fc.dictionary(word, word),
        hardening: fc.constantFrom("none" as const, "cis" as const),
        ssh: fc.boolean(),
      }),
      fc.uniqueArray(content, { minLength: 1, maxLength: 4, selector: String }),
      (changes, contents) => {
        const files = contents.map((one, index) => ({ path: `/etc/file ${index}: "no"`, bytes: one, mode: "0640" }));
        const bake = bakeOf(changes, {
          files,
          scripts: files.map((file, index) => ({ ...file, path: `on-${index}` })),
        });
        isCloudConfig(parse(userData(bake), { version: "1.1" }));
        const found = filesOf(bake);
        for (const { path, bytes: given } of files) {
          const file = found.get(`files${path}`);
          assert.deepEqual(file && new Uint8Array(file.content), given);
          assert.equal(file?.permissions, "0640");
        }
        for (const [path, given] of bake.shell)
          assert.deepEqual(new Uint8Array(found.get(path)?.content ?? []), new Uint8Array(given), path);
        assert.equal(
          found.get("lists/hold")?.content.toString(),
          bake.definition.hold
            .toSorted()
            .map((name) => `${name}\n`)
            .join(""),
        );
        assert.equal(userData(bake), userData(bake));
      },
    );
    fc.assert(property, { numRuns: 25 });
  });

  it("gives a shell its settings as they are, whatever signs they have", () => {
    const odd = `it's $(id) "quoted" \\ \`x\``;
    const bake = bakeOf();
    const settings = textOf({ ...bake, sources: { snapshots: odd, rke2: "https://mirror.example/rke2" } }, "settings");
    const said = execFileSync("sh", [
      "-c",
      `${settings}\nprintf '%s|%s|%s' "$ARCHIVE" "$RKE2_ARTEFACTS" "$ARCHIVE_DAY"`,
    ]);
    assert.equal(String(said), `${odd}/20260801T000000Z|https://mirror.example/rke2/v1.34.4%2Brke2r1|20666`);
  });

  it("masks what would use apt before anything else", () => {
    const seed = readSeed(cidata({ "user-data": userData(bakeOf()), "meta-data": metaData("bake-1", "bake") }));
    const [[program, verb, ...units] = []] = seed.userData.bootcmd as string[][];
    assert.deepEqual([program, verb], ["systemctl", "mask"]);
    assert.ok(units.includes("apt-daily.timer") && units.includes("unattended-upgrades.service"));
    assert.equal(textOf(bakeOf(), "lists/masked"), units.map((unit) => `${unit}\n`).join(""));
  });

  it("has the packages of every image beside its own, each once", () => {
    const listed = textOf(bakeOf({ packages: ["wget", "nfs-common"] }), "lists/packages");
    assert.equal(listed, "curl\nhtop\nnfs-common\nqemu-guest-agent\nwget\n");
  });

  it("describes the image as the steps read it, but for its kernel", () => {
    const facts: unknown = JSON.parse(textOf(bakeOf(), "image.json"));
    assert.deepEqual(facts, {
      image: "ubuntu-24-04-rke2-v1.2.0",
      rke2: "v1.34.4+rke2r1",
      kernel: "@KERNEL@",
      units: ["registries"],
    });
  });

  it("keeps the scripts in their order", () => {
    const scripts = Array.from({ length: 12 }, (_, index) => ({
      path: `step-${index}`,
      bytes: bytes(`#!/bin/sh\n# ${index}\n`),
    }));
    const found = [...filesOf(bakeOf({}, { scripts })).keys()].filter((path) => path.startsWith("scripts/")).toSorted();
    assert.deepEqual(
      found,
      scripts.map(({ path }, index) => `scripts/${String(index).padStart(3, "0")}-${path}`),
    );
  });

  it("refuses files whose bytes are missing or are others, and entries of two lines", () => {
    const files = [{ path: "/etc/motd", bytes: bytes("hello\n") }];
    const bake = bakeOf({}, { files });
    assert.throws(() => userData({ ...bake, contents: new Map() }), /the bytes of \/etc\/motd are missing/);
    const other = new Map([...bake.contents.keys()].map((sum) => [sum, bytes("other\n")]));
    assert.throws(() => userData({ ...bake, contents: other }), /not those that the definition names/);
    assert.throws(() => userData(bakeOf({ packages: ["htop\nrm -rf /"] })), /more than one line/);
    assert.throws(() => userData(bakeOf({ archiveDate: "2026-08-01" })), /not the date of an archive/);
  });

  for (const [version, isSound] of [
    ["v1.33.13+rke2r2", false],
    ["v1.33.14+rke2r1", true],
    ["v1.34.4+rke2r1", false],
    ["v1.34.10+rke2r1", true],
    ["v1.36.2+rke2r1", false],
    ["v1.37.0+rke2r1", true],
    ["v1.32.20+rke2r1", false],
    ["1.37", false],
  ] as const)
    it(`${isSound ? "lets" : "does not let"} RKE2 ${version} remember its imports`, () => {
      assert.equal(hasSoundImportCache(version), isSound);
    });

  for (const [what, network, subnet] of [
    ["by DHCP", { mac: "BC:24:11:00:00:01" }, { type: "dhcp4" }],
    [
      "with an address",
      { mac: "BC:24:11:00:00:01", address: { cidr: "10.0.0.9/24", gateway: "10.0.0.1", nameservers: ["10.0.0.2"] } },
      { type: "static", address: "10.0.0.9/24", gateway: "10.0.0.1", dns_nameservers: ["10.0.0.2"] },
    ],
  ] as const)
    it(`describes its network as Proxmox does, ${what}`, () => {
      const text = networkConfig(network);
      isNetworkConfig({ network: parse(text) as unknown });
      const { network: read } = readSeed(
        cidata({ "user-data": "#cloud-config\n{}\n", "meta-data": metaData("i", "h"), "network-config": text }),
      );
      const card = { type: "physical", name: "eth0", mac_address: "bc:24:11:00:00:01", subnets: [subnet] };
      assert.deepEqual(read, { version: 1, config: [card] });
    });
});
