/** Checks detached OpenPGP signatures: by a key with a given full fingerprint, and no other one. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { messageOf, UserError } from "../../runtime/errors.ts";
import { projectRoot } from "../../runtime/project.ts";

/** Ubuntu's "UEC Image Automatic Signing Key", which signs the lists of cloud images. */
export const UBUNTU_KEY = "D2EB44626FDDC30B513D5BB71A5D6C4C7DB87C81";

/** Reads Ubuntu's key for cloud images, which is kept beside this file. */
export async function readUbuntuKey(): Promise<string> {
  return await readFile(join(projectRoot, "src/clients/feeds/keys/ubuntu-cloud-images.asc"), "utf8");
}

/** Something that was signed. */
export interface Signed {
  content: Uint8Array;
  /** The signature, in binary form or armored. */
  signature: Uint8Array;
  /** One or more public keys, armored. */
  keys: string;
  /** Full fingerprint of the key that must have signed: 40 hexadecimal digits. */
  fingerprint: string;
  /** The file, for a message. */
  where: string;
  now: Date;
}

/**
 * Checks a signature.
 * @returns when it was made
 * @throws UserError when it was not made by that key, does not fit, or is of a time to come
 */
export async function verifySignature(signed: Signed): Promise<Date> {
  // It takes 30 ms to load, and only `image pin` needs it.
  const openpgp = await import("openpgp");
  const wanted = signed.fingerprint.toLowerCase();
  // Of several armored blocks the library reads the first alone.
  const blocks = signed.keys.split(/^(?=-----BEGIN PGP PUBLIC KEY BLOCK-----)/m).filter((block) => block.trim() !== "");
  const read = blocks.map((block) => readWith(signed, () => openpgp.readKeys({ armoredKeys: block })));
  const key = (await Promise.all(read)).flat().find((one) => one.getFingerprint() === wanted);
  if (key === undefined)
    throw new UserError({
      what: `there is no key ${signed.fingerprint} to check the signature with`,
      where: signed.where,
      todo: "give the file with this key (--key FILE), or correct base.signedBy",
    });
  const text = Buffer.from(signed.signature).toString("latin1");
  const signature = await readWith(signed, () =>
    text.startsWith("-----BEGIN")
      ? openpgp.readSignature({ armoredSignature: text })
      : openpgp.readSignature({ binarySignature: signed.signature }),
  );
  const message = await openpgp.createMessage({ binary: signed.content });
  const { signatures } = await openpgp.verify({
    message,
    signature,
    verificationKeys: key.toPublic(),
    format: "binary",
    date: signed.now,
  });
  const faults: string[] = [];
  for (const one of signatures) {
    try {
      await one.verified;
      const [packet] = (await one.signature).packets;
      if (packet?.created) return packet.created;
    } catch (error) {
      faults.push(messageOf(error));
    }
  }
  throw new UserError({
    what: `the signature is not of the key ${signed.fingerprint}, or does not fit: ${faults.join("; ") || "there is none"}`,
    where: signed.where,
    todo: "use another source: this list was changed, or signed by somebody else",
  });
}

async function readWith<T>({ where }: Signed, read: () => Promise<T>): Promise<T> {
  return await read().catch((error: unknown) =>
    Promise.reject(
      new UserError(
        {
          what: `a key or a signature cannot be read: ${messageOf(error)}`,
          where,
          todo: "see what the address leads to; keys are given in their armored form",
        },
        { cause: error },
      ),
    ),
  );
}
