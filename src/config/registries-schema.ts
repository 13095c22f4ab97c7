import { createPrivateKey, X509Certificate } from "node:crypto";
import { z } from "zod";

const text = z.string().min(1);

const host = text.regex(
  /^(\*|[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:\d{1,5})?)$/,
  "must be a host, with a port where it has one, such as registry.example.org:5000",
);
const path = text.regex(
  /^\/[^\0\n]*$/,
  "must be the absolute path of a file that the image has; a certificate that Evergreen brings is text, under ca, cert or key",
);
const certificates = text
  .refine(isCertificates, "must be certificates in PEM")
  .meta({ values: "one or several certificates in PEM" });

const mirror = z
  .strictObject({
    endpoint: z
      .array(text.refine(isEndpoint, "must be a URL with https or http, and without credentials"))
      .exactOptional()
      .meta({ description: "URLs that are tried in this order, and the registry itself after them." }),
    rewrite: z
      .record(text.refine(isPattern, "must be a regular expression of Go"), z.string())
      .exactOptional()
      .meta({ description: "Patterns of repositories, and what takes the place of each in requests to the mirror." }),
  })
  .meta({ description: "Where the images of a registry come from." });

const auth = z
  .strictObject({
    username: text.exactOptional().meta({ description: "User name." }),
    password: text.exactOptional().meta({ description: "Its password." }),
    auth: text.exactOptional().meta({ description: "Both, as `username:password` in base64." }),
    identity_token: text.exactOptional().meta({ description: "A token in place of both." }),
  })
  .meta({ description: "Credentials." });

const tls = z
  .strictObject({
    ca: certificates.exactOptional().meta({
      description:
        "Certificates of authorities beside those of the image. Evergreen writes them into a file of the node.",
    }),
    cert: certificates.exactOptional().meta({ description: "Certificate of the node as a client." }),
    key: text.refine(isKey, "must be a private key in PEM, without a passphrase").exactOptional().meta({
      description: "Its private key.",
      values: "private key in PEM",
    }),
    ca_file: path.exactOptional().meta({ description: "The same, in a file of the image." }),
    cert_file: path.exactOptional().meta({ description: "The same, in a file of the image." }),
    key_file: path.exactOptional().meta({ description: "The same, in a file of the image." }),
    insecure_skip_verify: z.boolean().exactOptional().meta({ description: "Whether any certificate is accepted." }),
  })
  .meta({ description: "TLS of a registry or mirror." });

const registryConfig = z
  .strictObject({ auth: auth.exactOptional(), tls: tls.exactOptional() })
  .meta({ description: "How a registry or mirror is spoken to." });

/** RKE2's registries.yaml, with certificates and keys as text beside those in files. */
export const registries = z.strictObject({
  mirrors: z.record(host, mirror).exactOptional().meta({
    description: "Mirrors by registry, as in RKE2's `registries.yaml`; `*` is all registries.",
    unset: "none",
    change: "As for the whole.",
  }),
  configs: z.record(host, registryConfig).exactOptional().meta({
    description:
      "Credentials (`auth`) and TLS (`tls`) by registry or mirror, as in RKE2's `registries.yaml`. Beside `ca_file`, `cert_file` and `key_file`, which are files of the image, `tls` has `ca`, `cert` and `key`: PEM that Evergreen writes into files of the nodes.",
    unset: "none",
    change: "As for the whole.",
  }),
});

const BLOCK = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

function isCertificates(value: string): boolean {
  const blocks = value.match(BLOCK) ?? [];
  return blocks.length > 0 && value.replaceAll(BLOCK, "").trim() === "" && blocks.every(isCertificate);
}

function isCertificate(block: string): boolean {
  try {
    return new X509Certificate(block).raw.length > 0;
  } catch {
    return false;
  }
}

function isKey(value: string): boolean {
  try {
    return createPrivateKey(value).type === "private";
  } catch {
    return false;
  }
}

function isEndpoint(value: string): boolean {
  const url = URL.canParse(value) ? new URL(value) : undefined;
  return (
    url !== undefined && /^https?:$/.test(url.protocol) && url.hostname !== "" && url.username + url.password === ""
  );
}

/** A pattern of Go: it may name groups and set flags in its own way, and has no look-around and no back reference. */
function isPattern(value: string): boolean {
  if (/\(\?<?[=!]|\\[1-9]/.test(value)) return false;
  try {
    return new RegExp(value.replace(/^\(\?[imsU]+\)/, "").replaceAll("(?P<", "(?<")).source !== "";
  } catch {
    return false;
  }
}
