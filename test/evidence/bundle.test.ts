import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import fc from "fast-check";
import { canonical } from "../../src/domain/model/canonical.ts";
import { openBundle, signingKeyOf, signStatement, trustedKeyOf, writeUnsigned } from "../../src/evidence/bundle.ts";
import { keyPair, proofOf } from "./image.ts";

const statement = proofOf();
const where = "records/x/provenance.json";

interface Bundle {
  mediaType: string;
  verificationMaterial: { publicKey: { hint: string } };
  dsseEnvelope: { payload: string; payloadType: string; signatures: { sig: string }[] };
}

describe("a signed statement", () => {
  const { signing, trusted, privateKey, publicKey } = keyPair();

  it("is a Sigstore bundle v0.3, and is read back with the key's validity", async () => {
    const text = await signStatement(statement, signing);
    const bundle = JSON.parse(text) as Bundle;
    assert.equal(bundle.mediaType, "application/vnd.dev.sigstore.bundle.v0.3+json");
    assert.equal(bundle.dsseEnvelope.payloadType, "application/vnd.in-toto+json");
    const opened = openBundle(text, [keyPair().trusted, trusted], where);
    assert.ok(opened.kind === "signed");
    assert.equal(canonical(opened.statement), canonical(statement));
    assert.deepEqual(opened.key, { name: "site", from: "2026-01-01T00:00:00Z" });
  });

  it("has the same bytes each time, for Ed25519 has no chance in it", async () => {
    assert.equal(await signStatement(statement, signing), await signStatement(proofOf(), signing));
  });

  it("of another key is of an unknown one, not altered", async () => {
    const other = keyPair("other");
    const text = await signStatement(statement, other.signing);
    assert.deepEqual(openBundle(text, [trusted], where), { kind: "unknownKey", id: other.signing.id });
  });

  it("that names a trusted key which did not sign it is altered", async () => {
    const bundle = JSON.parse(await signStatement(statement, keyPair("other").signing)) as Bundle;
    bundle.verificationMaterial.publicKey.hint = trusted.id;
    assert.deepEqual(openBundle(JSON.stringify(bundle), [trusted], where), { kind: "altered" });
  });

  it("is altered by any other byte in what it says or in its signature", async () => {
    const text = await signStatement(statement, signing);
    fc.assert(
      fc.property(fc.boolean(), fc.nat(), fc.integer({ min: 1, max: 255 }), (isPayload, place, change) => {
        const bundle = JSON.parse(text) as Bundle;
        const [signature = { sig: "" }] = bundle.dsseEnvelope.signatures;
        const bytes = Buffer.from(isPayload ? bundle.dsseEnvelope.payload : signature.sig, "base64");
        const at = place % bytes.length;
        bytes.writeUInt8(bytes.readUInt8(at) ^ change, at);
        if (isPayload) bundle.dsseEnvelope.payload = bytes.toString("base64");
        else signature.sig = bytes.toString("base64");
        assert.deepEqual(openBundle(JSON.stringify(bundle), [trusted], where), { kind: "altered" });
      }),
    );
  });

  it("without a signature is told from one with a signature", () => {
    const opened = openBundle(writeUnsigned(statement), [trusted], where);
    assert.equal(opened.kind, "unsigned");
  });

  const foreign: [string, (bundle: Bundle) => unknown][] = [
    ["no JSON", () => undefined],
    ["another document", () => ({ hello: "world" })],
    ["an older bundle", (bundle) => ({ ...bundle, mediaType: "application/vnd.dev.sigstore.bundle+json;version=0.1" })],
    [
      "another payload",
      (bundle) => ({ ...bundle, dsseEnvelope: { ...bundle.dsseEnvelope, payloadType: "text/plain" } }),
    ],
    [
      "no signature in an envelope",
      (bundle) => ({ ...bundle, dsseEnvelope: { ...bundle.dsseEnvelope, signatures: [] } }),
    ],
    [
      "two signatures",
      ({ dsseEnvelope, ...rest }) => {
        const { signatures } = dsseEnvelope;
        return { ...rest, dsseEnvelope: { ...dsseEnvelope, signatures: [...signatures, ...signatures] } };
      },
    ],
  ];
  for (const [name, change] of foreign)
    it(`is not ${name}: the file is named`, async () => {
      const bundle = JSON.parse(await signStatement(statement, signing)) as Bundle;
      const text = JSON.stringify(change(bundle)) as string | undefined;
      assert.throws(() => openBundle(text ?? "{", [trusted], where), /neither a signed statement.*[^]*records\/x/);
    });

  it("needs an Ed25519 key, which no message quotes", () => {
    const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 });
    const pem = rsa.privateKey.export({ type: "pkcs8", format: "pem" }).toString();
    const broken = privateKey.replace("MC4C", "MC4D");
    for (const text of [pem, broken, "", publicKey])
      assert.throws(
        () => signingKeyOf(text, "evergreen:images.signingKey"),
        (error: Error) => error.message.includes("private key of records is not") && !/MC4|MII/.test(error.message),
      );
    const given = { name: "site", from: "2026-01-01T00:00:00Z" };
    assert.throws(() => trustedKeyOf({ ...given, publicKey: "x" }, "keys[1]"), /public key of records.*[^]*keys\[1\]/);
    for (const validity of [{ until: "2025-01-01T00:00:00Z" }, { from: "soon" }, { until: "never" }])
      assert.throws(() => trustedKeyOf({ ...given, ...validity, publicKey }, "keys[1]"), /validity of the key site/);
  });
});
