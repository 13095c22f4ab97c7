/**
 * Signs and opens statements: a Sigstore bundle v0.3 with a DSSE envelope and a plain Ed25519 key, which any verifier of
 * bundles can check without a network. There is no transparency log: who holds the key is believed about the time.
 */
import { createHash, createPrivateKey, createPublicKey, sign, type KeyObject } from "node:crypto";
import { bundleFromJSON, bundleToJSON, BUNDLE_V03_MEDIA_TYPE, isBundleWithDsseEnvelope } from "@sigstore/bundle";
import { DSSEBundleBuilder } from "@sigstore/sign";
import { toSignedEntity, VerificationError, Verifier } from "@sigstore/verify";
import { STATEMENT_MEDIA_TYPE, STATEMENT_TYPE, type Statement } from "../domain/images/statements.ts";
import type { Finding, KeyValidity } from "../domain/images/found-record.ts";
import { canonical } from "../domain/model/canonical.ts";
import { UserError } from "../runtime/errors.ts";

/** The key that signs. Its PEM never leaves the process. */
export interface SigningKey {
  /** SHA-256 of the public key (SPKI, DER), 64 hexadecimal digits. */
  id: string;
  key: KeyObject;
}

/** A key whose signatures are trusted. */
export interface TrustedKey extends KeyValidity {
  id: string;
  key: KeyObject;
}

/**
 * Reads a private key.
 * @param where configuration path of the key, for a message
 * @throws UserError when it is not an Ed25519 key in PEM (PKCS #8); never quotes it
 */
export function signingKeyOf(pem: string, where: string): SigningKey {
  const key = readKey(() => createPrivateKey(pem), "private", where);
  return { id: keyId(createPublicKey(key)), key };
}

/**
 * Reads a key of the list of trusted keys.
 * @param given its public part in PEM (SPKI), and from when until when its signatures are trusted, ISO 8601
 * @throws UserError when it is not an Ed25519 key, or its validity is no time or ends before it begins
 */
export function trustedKeyOf({ publicKey, ...given }: KeyValidity & { publicKey: string }, where: string): TrustedKey {
  const [from, until] = [Date.parse(given.from), given.until === undefined ? Infinity : Date.parse(given.until)];
  // Of what is no time, no comparison holds.
  if (!(from < until))
    throw new UserError({
      what: `the validity of the key ${given.name} is not two times in their order`,
      where,
      todo: "write from and until as 2026-08-01T00:00:00Z, until being the later one or left out",
    });
  const key = readKey(() => createPublicKey(publicKey), "public", where);
  return { ...given, id: keyId(key), key };
}

/** A key of ours, to read what it has signed: trusted whenever that was. */
export function ownKeyOf({ id, key }: SigningKey): TrustedKey {
  return { name: "our own", from: "1970-01-01T00:00:00Z", id, key: createPublicKey(key) };
}

function readKey(read: () => KeyObject, part: "private" | "public", where: string): KeyObject {
  const key = attempt(read);
  if (key?.asymmetricKeyType === "ed25519") return key;
  throw new UserError({
    what: `the ${part} key of records is not an Ed25519 key in PEM`,
    where,
    todo: "make one with `openssl genpkey -algorithm ed25519`; its public part with `openssl pkey -pubout`",
  });
}

/** An error of the library may quote what it read. */
function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}

function keyId(publicKey: KeyObject): string {
  return createHash("sha256")
    .update(publicKey.export({ type: "spki", format: "der" }))
    .digest("hex");
}

/** Signs a statement. @returns the bundle's JSON text, the same for the same statement and key */
export async function signStatement(statement: Statement, { id, key }: SigningKey): Promise<string> {
  const signer = {
    sign: (data: Buffer) =>
      Promise.resolve({
        signature: sign(null, data, key),
        key: { $case: "publicKey" as const, publicKey: "", hint: id },
      }),
  };
  const builder = new DSSEBundleBuilder({ signer, witnesses: [] });
  const bundle = await builder.create({ data: Buffer.from(canonical(statement)), type: STATEMENT_MEDIA_TYPE });
  return JSON.stringify(bundleToJSON(bundle));
}

/** A statement without a signature, for a site that has no key. */
export function writeUnsigned(statement: Statement): string {
  return canonical(statement);
}

/**
 * Opens a bundle, or a statement without one.
 * @param where the file, for a message
 * @returns the statement as JSON that nobody has checked yet, if its signature fits or if it has none
 * @throws UserError when the text is neither
 */
export function openBundle(text: string, keys: readonly TrustedKey[], where: string): Finding<unknown> {
  const value = attempt((): unknown => JSON.parse(text));
  if (isStatement(value)) return { kind: "unsigned", statement: value };
  const bundle = attempt(() => bundleFromJSON(value));
  if (bundle?.mediaType !== BUNDLE_V03_MEDIA_TYPE || !isBundleWithDsseEnvelope(bundle)) throw foreign(where);
  const { payload, payloadType, signatures } = bundle.content.dsseEnvelope;
  const entity = toSignedEntity(bundle);
  if (payloadType !== STATEMENT_MEDIA_TYPE || signatures.length !== 1) throw foreign(where);
  if (entity.key.$case !== "public-key") return { kind: "unknownKey", id: "a certificate" };
  const { hint } = entity.key;
  const trusted = keys.find(({ id }) => id === hint);
  if (trusted === undefined) return { kind: "unknownKey", id: hint };
  if (!fits(entity, trusted)) return { kind: "altered" };
  const statement = attempt((): unknown => JSON.parse(payload.toString()));
  if (!isStatement(statement)) throw foreign(where);
  return { kind: "signed", key: validityOf(trusted), statement };
}

/** The signature alone: validity is held against the time of the statement (trust.ts), for no log has another one. */
function fits(entity: ReturnType<typeof toSignedEntity>, { key }: TrustedKey): boolean {
  const material = { certificateAuthorities: [], timestampAuthorities: [], tlogs: [], ctlogs: [] };
  const verifier = new Verifier(
    { ...material, publicKey: () => ({ publicKey: key, validFor: () => true }) },
    { ctlogThreshold: 0, tlogThreshold: 0, timestampThreshold: 0 },
  );
  try {
    verifier.verify(entity);
    return true;
  } catch (error) {
    if (error instanceof VerificationError) return false;
    throw error;
  }
}

function validityOf({ name, from, until }: TrustedKey): KeyValidity {
  return { name, from, ...(until === undefined ? {} : { until }) };
}

function isStatement(value: unknown): value is object {
  return typeof value === "object" && value !== null && "_type" in value && value._type === STATEMENT_TYPE;
}

function foreign(where: string): UserError {
  return new UserError({
    what: "a file of the store of records is neither a signed statement nor one without a signature",
    where,
    todo: "copy it from a backup of the store, or bake the image again; take files of others out of the store",
  });
}
