import { generateKeyPairSync } from "node:crypto";
import { contentsDigest, type ImageContents } from "../../src/domain/images/contents.ts";
import type { ImageDefinition } from "../../src/domain/images/definition.ts";
import {
  proofStatement,
  provenanceOf,
  sbomStatement,
  testsStatement,
  type ImageSubject,
  type Proof,
} from "../../src/domain/images/statements.ts";
import type { TemplateIdentity } from "../../src/domain/images/template-identity.ts";
import {
  signingKeyOf,
  signStatement,
  trustedKeyOf,
  type SigningKey,
  type TrustedKey,
} from "../../src/evidence/bundle.ts";
import type { RecordTexts } from "../../src/evidence/image-records.ts";
import { sbomOf } from "../../src/evidence/sbom.ts";

/** When the image of these tests was baked. */
export const BAKED = "2026-08-01T10:20:00Z";

export const sha = (digit: string): string => digit.repeat(64);

export const template: TemplateIdentity = {
  name: "ubuntu-v1.2.0",
  uuid: "5d2a0b0c-7d3f-4e67-9b57-1d1f6b5f9a01",
  config: sha("c"),
  volumes: [{ id: "local:9001/base-9001-disk-0.qcow2", size: "10G" }],
};

export const contents: ImageContents = {
  packages: [
    { name: "openssl", version: "3.0.13-0ubuntu3.5", architecture: "amd64" },
    { name: "libstdc++6", version: "14.2.0-4ubuntu2~24.04", architecture: "amd64" },
    { name: "openssh-client", version: "1:9.6p1-3ubuntu13.3", architecture: "amd64" },
  ],
  images: [{ reference: "docker.io/rancher/hardened-etcd:v3.5.26-k3s1", sha256: sha("e") }],
  files: [{ path: "/usr/local/bin/rke2", sha256: sha("b") }],
};

export const definition: ImageDefinition = {
  name: "ubuntu",
  version: "v1.2.0",
  base: {
    url: "https://cloud-images.ubuntu.com/releases/noble/release-20260725/ubuntu-24.04-server-cloudimg-amd64.img",
    sha256: sha("1"),
    serial: "20260725",
    signedBy: "D2EB44626FDDC30B513D5BB71A5D6C4C7DB87C81",
  },
  archiveDate: "20260801T000000Z",
  packages: ["nfs-common"],
  hold: [],
  diskGiB: 10,
  rke2: {
    version: "v1.34.4+rke2r1",
    cni: ["canal"],
    artefacts: [{ file: "rke2.linux-amd64.tar.gz", sha256: sha("2") }],
  },
  kernel: { parameters: [], modules: [] },
  sysctl: {},
  hardening: "none",
  ssh: false,
  services: { enable: [], mask: [] },
  files: [],
  scripts: [],
  tests: [],
};

export const subjectWith = (held: ImageContents = contents): ImageSubject => ({
  name: "ubuntu",
  version: "v1.2.0",
  definition: sha("d"),
  contents: contentsDigest(held),
  templates: [template],
});

/** A key pair, and when its signatures are trusted. */
export function keyPair(name = "site", validity: { from?: string; until?: string } = {}) {
  const pair = generateKeyPairSync("ed25519");
  const privateKey = pair.privateKey.export({ type: "pkcs8", format: "pem" }).toString();
  const publicKey = pair.publicKey.export({ type: "spki", format: "pem" }).toString();
  const trusted: TrustedKey = trustedKeyOf({ name, from: "2026-01-01T00:00:00Z", ...validity, publicKey }, "keys[0]");
  const signing: SigningKey = signingKeyOf(privateKey, "signingKey");
  return { privateKey, publicKey, trusted, signing };
}

export const statementsOf = (subject: ImageSubject, held: ImageContents = contents) => ({
  provenance: provenanceOf({
    subject,
    definition,
    shell: { "bake.sh": sha("5") },
    builder: { stack: "evergreen/dev", version: "0.1.0" },
    startedOn: "2026-08-01T10:00:00Z",
    finishedOn: BAKED,
  }),
  sbom: sbomStatement(
    subject,
    sbomOf(
      { name: "ubuntu", version: "v1.2.0", distribution: { vendor: "ubuntu", codename: "noble" }, at: BAKED },
      held,
    ),
  ),
  tests: testsStatement(subject, { passed: ["boots", "join waits"], failed: [], at: BAKED }),
});

/** A record of the image, signed. */
export const signedRecord = (key: SigningKey, held: ImageContents = contents): Promise<RecordTexts> =>
  recordOf(subjectWith(held), key, held);

/** A record of another image of the same definition, signed. */
export async function recordOf(
  subject: ImageSubject,
  key: SigningKey,
  held: ImageContents = contents,
): Promise<RecordTexts> {
  const { provenance, sbom, tests } = statementsOf(subject, held);
  return {
    provenance: await signStatement(provenance, key),
    sbom: await signStatement(sbom, key),
    tests: await signStatement(tests, key),
  };
}

/** The word of a stack that ran the image. */
export const proofOf = (changes: Partial<Proof> = {}, subject: ImageSubject = subjectWith()) =>
  proofStatement(subject, {
    verifier: { stack: "evergreen/dev", version: "0.1.0" },
    since: "2026-08-02T08:00:00Z",
    at: "2026-08-03T08:00:00Z",
    record: sha("f"),
    nodes: ["dev-agents-1-1a2b3c4d"],
    checks: ["boots"],
    isPassed: true,
    ...changes,
  });

/** A guest with that many packages. */
export const manyPackages = (count: number): ImageContents => ({
  ...contents,
  packages: Array.from({ length: count }, (_, i) => ({
    name: `package-${i}`,
    version: `1:${i}.2-3ubuntu${i % 7}`,
    architecture: "amd64",
  })),
});
