/**
 * The SBOM of an image, as a document of CycloneDX 1.6. Equal contents give equal bytes: everything is in one order,
 * each component has a reference of its own, and the only time is the one that is given.
 */
import { Enums, Models, Serialize, Spec } from "@cyclonedx/cyclonedx-library";
import { z } from "zod";
import { orderedContents, type ImageContents, type Package } from "../domain/images/contents.ts";

/** What an SBOM is of. */
export interface SbomSubject {
  /** Name and version of the image's definition. */
  name: string;
  version: string;
  /** Distribution, as package URLs name it: `{ vendor: "ubuntu", codename: "noble" }`. */
  distribution: { vendor: string; codename: string };
  /** When the contents were measured, ISO 8601. */
  at: string;
}

/** The document, as a plain object. */
export function sbomOf({ name, version, distribution, at }: SbomSubject, contents: ImageContents): object {
  const { packages, images, files } = orderedContents(contents);
  const bom = new Models.Bom();
  bom.metadata.timestamp = new Date(at);
  bom.metadata.component = new Models.Component(Enums.ComponentType.OperatingSystem, name, {
    version,
    bomRef: `image:${name}@${version}`,
  });
  for (const one of packages) bom.components.add(packageComponent(one, distribution));
  for (const { reference, sha256 } of images)
    bom.components.add(
      new Models.Component(Enums.ComponentType.Container, reference, {
        version: `sha256:${sha256}`,
        bomRef: `container:${reference}`,
      }),
    );
  for (const { path, sha256 } of files)
    bom.components.add(
      new Models.Component(Enums.ComponentType.File, path, {
        hashes: new Models.HashDictionary([[Enums.HashAlgorithm["SHA-256"], sha256]]),
        bomRef: `file:${path}`,
      }),
    );
  const factory = new Serialize.JSON.Normalize.Factory(Spec.Spec1dot6);
  return factory.makeForBom().normalize(bom, { sortLists: true });
}

function packageComponent({ name, version, architecture }: Package, { vendor, codename }: SbomSubject["distribution"]) {
  const purl = `pkg:deb/${vendor}/${encoded(name)}@${encoded(version)}?arch=${architecture}&distro=${codename}`;
  return new Models.Component(Enums.ComponentType.Library, name, {
    version,
    purl,
    bomRef: `deb:${name}:${architecture}`,
  });
}

/** Percent-encoding of package URLs, which leaves the colon of an epoch. */
function encoded(text: string): string {
  return encodeURIComponent(text).replaceAll("%3A", ":");
}

const hex = z.string().regex(/^[0-9a-f]{64}$/);
const component = z.discriminatedUnion("type", [
  z.object({
    type: z.literal("library"),
    name: z.string(),
    version: z.string(),
    purl: z.string().regex(/[?&]arch=[^&]+/),
  }),
  z.object({ type: z.literal("container"), name: z.string(), version: z.string().regex(/^sha256:[0-9a-f]{64}$/) }),
  z.object({
    type: z.literal("file"),
    name: z.string(),
    hashes: z.tuple([z.object({ alg: z.literal("SHA-256"), content: hex })]),
  }),
]);

/** An SBOM of ours, as far as it is read again. */
export const sbomSchema = z.object({
  bomFormat: z.literal("CycloneDX"),
  specVersion: z.literal("1.6"),
  metadata: z.object({ timestamp: z.iso.datetime() }),
  components: z.array(component).default([]),
});

/** What an SBOM says that the image holds. */
export function contentsOf({ components }: z.infer<typeof sbomSchema>): ImageContents {
  return orderedContents({
    packages: components.flatMap((one) =>
      one.type === "library"
        ? [{ name: one.name, version: one.version, architecture: /[?&]arch=([^&]+)/.exec(one.purl)?.[1] ?? "" }]
        : [],
    ),
    images: components.flatMap((one) =>
      one.type === "container" ? [{ reference: one.name, sha256: one.version.replace("sha256:", "") }] : [],
    ),
    files: components.flatMap((one) =>
      one.type === "file" ? [{ path: one.name, sha256: one.hashes[0].content }] : [],
    ),
  });
}
