/** A definition that the lab's web can serve, as its folder has it. */
import { stringify } from "yaml";
import { artefact, labBake } from "../lab/support/bake-site.ts";
import { definitionFixture } from "../support/image-definition.ts";

/** The version of RKE2 of the lab's own templates. */
export const LAB_RKE2 = "v1.34.4+rke2r1";

/** The text of an `image.yaml`. @param rke2 by default that of the lab's bakes */
export function imageYaml(version: string, packages: readonly string[] = [], rke2?: string): string {
  const { base, archiveDate, rke2: own } = labBake().definition;
  const { url, sha256 } = base;
  const artefacts = own.artefacts.map(({ file }) => artefact(file, rke2 ?? own.version));
  return stringify({
    ...{ version, base: { url, sha256, signedBy: definitionFixture.base.signedBy }, archiveDate, packages },
    rke2: {
      version: rke2 ?? own.version,
      cni: ["none"],
      artefacts: Object.fromEntries(artefacts.map((one) => [one.file, one.sha256])),
    },
  });
}
