/** A secret in a text, by what it looks like. */
export interface FoundSecret {
  /** In the words of a message: `a private key`. */
  kind: string;
  offset: number;
}

/** What a secret looks like. Each pattern is one that a text without secrets does not have by chance. */
const LOOKS: readonly { kind: string; pattern: RegExp }[] = [
  { kind: "a private key", pattern: /-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----/ },
  { kind: "a private key", pattern: /PuTTY-User-Key-File-\d/ },
  { kind: "a private key", pattern: /AGE-SECRET-KEY-1[0-9A-Z]{20}/ },
  // The same header in Base64, as a kubeconfig has it.
  { kind: "a private key", pattern: /LS0tLS1CRUdJTi(?:BQUklWQVRF|BSU0EgUFJJ|BFQyBQUklW|BPUEVOU1NI|BFTkNSWVBU)/ },
  { kind: "a token of RKE2", pattern: /\bK10[0-9a-f]{64}::/ },
  { kind: "a token of RKE2", pattern: /\bRKE2_(?:AGENT_)?TOKEN[ \t]*=[ \t]*[^\s#]/ },
  // crypt(3), as in /etc/shadow and in cloud-init's `passwd`.
  { kind: "the hash of a password", pattern: /\$(?:1|2[abxy]|5|6|y|gy|7)\$[./A-Za-z0-9$=,]{20,}/ },
  { kind: "a token of a service account", pattern: /\beyJhbGciOi[\w-]{10,}\.[\w-]{20,}\.[\w-]{20,}/ },
  { kind: "an access key of AWS", pattern: /\bAKIA[0-9A-Z]{16}\b/ },
  { kind: "a token of GitHub", pattern: /\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_\w{40})/ },
  { kind: "a password in an address", pattern: /\bhttps?:\/\/[^\s/:@"']+:[^\s/@"']+@/ },
];

/** Credentials in RKE2's registries.yaml, whose keys say what they are. */
const OF_REGISTRIES = /^[ \t]*["']?(?:password|auth|identity_token)["']?[ \t]*:[ \t]*[^\s#{]/m;

/**
 * The first secret of a text.
 * @param name of the file, which says what its keys mean
 */
export function secretIn(text: string, name = ""): FoundSecret | undefined {
  const found = LOOKS.flatMap(({ kind, pattern }) => {
    const offset = text.search(pattern);
    return offset < 0 ? [] : [{ kind, offset }];
  });
  if (/^registries\.ya?ml$/.test(name)) {
    // `auth:` alone opens a map; what is in it is found by its own keys.
    const offset = text.search(OF_REGISTRIES);
    if (offset >= 0) found.push({ kind: "the credentials of a registry", offset });
  }
  return found.toSorted((a, b) => a.offset - b.offset)[0];
}
