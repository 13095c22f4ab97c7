/** Certificates of a lab: EC P-256, generated in process, so that a machine needs no openssl. */
import { createHash, generateKeyPairSync, randomBytes, sign } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { isIP } from "node:net";
import * as der from "./der.ts";

/** A certificate and its private key, both PEM. */
export interface Credentials {
  cert: string;
  key: string;
}

/** What a certificate states about its holder. */
export interface Subject {
  commonName: string;
  /** Kubernetes reads groups from it. @default none */
  organizations?: readonly string[];
  /** @default both */
  usages?: readonly ("server" | "client")[];
  /** DNS names and IP addresses that it serves. @default none */
  names?: readonly string[];
}

/** Days of validity: a lab runs for hours, and certificates need not outlive a forgotten lab by far. */
const validDays = 30;
const day = 24 * 3600 * 1000;

/** A certificate authority. */
export class Authority {
  /** PEM, as clients get it. */
  readonly cert: string;
  /** PKCS #8, PEM. */
  readonly key: string;
  private readonly subject: Buffer;
  private readonly privateKey: KeyObject;
  private readonly keyId: Buffer;

  constructor(commonName: string) {
    const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const spki = publicKey.export({ type: "spki", format: "der" });
    this.subject = distinguishedName({ commonName });
    this.privateKey = privateKey;
    this.keyId = keyIdOf(spki);
    this.key = privateKeyPem(privateKey);
    this.cert = this.certify(this.subject, spki, [
      extension("2.5.29.19", der.sequence(der.boolean(true)), true),
      extension("2.5.29.15", der.bits(Buffer.from([0x86]), 1), true), // digitalSignature, keyCertSign, cRLSign
    ]);
  }

  /** Issues a certificate for a new key. */
  issue(subject: Subject): Credentials {
    const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const usages = (subject.usages ?? ["server", "client"]).map((usage) =>
      der.oid(usage === "server" ? "1.3.6.1.5.5.7.3.1" : "1.3.6.1.5.5.7.3.2"),
    );
    const extensions = [
      extension("2.5.29.19", der.sequence(), true),
      extension("2.5.29.15", der.bits(Buffer.from([0x80]), 7), true), // digitalSignature
      extension("2.5.29.37", der.sequence(...usages)),
    ];
    if (subject.names?.length) extensions.push(extension("2.5.29.17", der.sequence(...subject.names.map(generalName))));
    const spki = publicKey.export({ type: "spki", format: "der" });
    return { cert: this.certify(distinguishedName(subject), spki, extensions), key: privateKeyPem(privateKey) };
  }

  /** SHA-256 of the PEM in hex, as RKE2's `K10` tokens carry it. */
  get hash(): string {
    return createHash("sha256").update(this.cert).digest("hex");
  }

  private certify(subject: Buffer, spki: Buffer, extensions: Buffer[]): string {
    const algorithm = der.sequence(der.oid("1.2.840.10045.4.3.2")); // ecdsa-with-SHA256
    const now = Date.now();
    const body = der.sequence(
      der.context(0, der.integer(Buffer.from([2]))),
      der.integer(randomBytes(16)),
      algorithm,
      this.subject,
      // Valid from a minute ago: the clocks of a lab and its clients need not agree to the second.
      der.sequence(der.time(new Date(now - 60_000)), der.time(new Date(now + validDays * day))),
      subject,
      spki,
      der.context(
        3,
        der.sequence(
          ...extensions,
          extension("2.5.29.14", der.octets(keyIdOf(spki))),
          extension("2.5.29.35", der.sequence(der.contextPrimitive(0, this.keyId))),
        ),
      ),
    );
    const signature = sign("sha256", body, this.privateKey);
    return pem("CERTIFICATE", der.sequence(body, algorithm, der.bits(signature, 0)));
  }
}

/** A key pair that signs tokens of service accounts. PEM. */
export function signingKeys(): { publicKey: string; privateKey: string } {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  return {
    publicKey: publicKey.export({ type: "spki", format: "pem" }).toString(),
    privateKey: privateKeyPem(privateKey),
  };
}

function distinguishedName({ commonName, organizations = [] }: Subject): Buffer {
  const attribute = (oid: string, value: string) => der.set(der.sequence(der.oid(oid), der.utf8(value)));
  return der.sequence(
    ...organizations.map((organization) => attribute("2.5.4.10", organization)),
    attribute("2.5.4.3", commonName),
  );
}

function extension(oid: string, value: Buffer, critical = false): Buffer {
  return der.sequence(der.oid(oid), ...(critical ? [der.boolean(true)] : []), der.octets(value));
}

function generalName(name: string): Buffer {
  if (isIP(name) === 4) return der.contextPrimitive(7, Buffer.from(name.split(".").map(Number)));
  if (isIP(name) === 6) return der.contextPrimitive(7, ipv6Bytes(name));
  return der.contextPrimitive(2, Buffer.from(name, "ascii"));
}

/** @param text in its usual spelling, without an IPv4 address at its end */
function ipv6Bytes(text: string): Buffer {
  const [before = [], after = []] = text.split("::").map((half) => half.split(":").filter(Boolean));
  const zeros = Array.from({ length: 8 - before.length - after.length }, () => "0");
  const groups = [...before, ...zeros, ...after].map((group) => group.padStart(4, "0"));
  return Buffer.from(groups.join(""), "hex");
}

function keyIdOf(spki: Buffer): Buffer {
  // The identifier only links certificates to each other: RFC 5280 proposes SHA-1 of the key bits, any digest will do.
  return createHash("sha256").update(spki).digest().subarray(0, 20);
}

function privateKeyPem(key: KeyObject): string {
  return key.export({ type: "pkcs8", format: "pem" }).toString();
}

function pem(label: string, content: Buffer): string {
  const lines = content.toString("base64").match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
}
