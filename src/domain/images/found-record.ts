/** A record of an image as it was found in the store: what its statements say, and whether they are signed. */
import type { ImageSubject } from "./statements.ts";

/** A key whose signatures are trusted, and when. */
export interface KeyValidity {
  name: string;
  /** First and last moment of the signatures that are trusted, ISO 8601. No end: the key is in use. */
  from: string;
  until?: string;
}

/** A statement as it was found: only what is signed, or what bears no signature at all, was read. */
export type Finding<S> =
  | { kind: "signed"; key: KeyValidity; statement: S }
  | { kind: "unsigned"; statement: S }
  /** Signed with a key that is not in the list: `id` is the SHA-256 of the public key. */
  | { kind: "unknownKey"; id: string }
  /** The signature of a trusted key does not fit what is said. */
  | { kind: "altered" };

/** What every statement says. */
export interface Said {
  subject: ImageSubject;
  /** When it was said, ISO 8601, by whoever signed it. */
  at: string;
}

/** How an image was made. */
export interface SaidOrigin extends Said {
  /** Digest of the definition that it was baked from, without that of the scripts that baked it. */
  content: string;
  /** The stack that baked it: `evergreen/dev`. */
  stack: string;
}

/** That the tests of a candidate ended, and how. */
export interface SaidTests extends Said {
  failed: readonly string[];
  isPassed: boolean;
}

/** That a stack ran the image. */
export interface SaidProof extends Said {
  stack: string;
  /** Since when, ISO 8601. */
  since: string;
  isPassed: boolean;
}

/** A record as the store has it. */
export interface FoundRecord {
  /** Its place in the store. */
  where: string;
  provenance: Finding<SaidOrigin>;
  sbom: Finding<Said>;
  tests: Finding<SaidTests>;
  /** Summaries of stacks that ran the image of this definition, whichever templates these had. */
  proofs: readonly Finding<SaidProof>[];
}
