import { existsSync } from "node:fs";
import { basename, resolve } from "node:path";
import type { Config } from "../config/config.ts";
import { nameOf } from "../config/image-definition.ts";
import { inspectImages, type ImageFolder } from "../config/images.ts";
import { contentDigest, templateNameOf } from "../domain/images/definition.ts";
import type { TemplateOptions } from "../domain/images/hardware.ts";
import { identityOf, notedRecord } from "../domain/images/template-identity.ts";
import { trustProblems, type Demand } from "../domain/images/trust.ts";
import { trustedKeyOf, type TrustedKey } from "../evidence/bundle.ts";
import { readRecord } from "../evidence/image-records.ts";
import { UserErrors, type Problem } from "../runtime/errors.ts";
import type { Clone } from "./templates.ts";

/** What is demanded of templates, and where it is looked for. */
export interface TrustQuestion {
  /** `evergreen:images`. */
  images: NonNullable<Config["images"]>;
  /** Folder of the project: relative folders of the configuration begin there. */
  project: string;
  /** Options of the templates as Proxmox has them, by VMID. */
  options: ReadonlyMap<number, TemplateOptions>;
  now: Date;
}

/**
 * Checks the records of the templates that a run clones (docs/images.md, "Records and trust").
 * @throws UserErrors that names each template whose record falls short; UserError when the records or the definitions
 * cannot be read
 */
export async function requireTrust(
  clones: readonly Pick<Clone, "spec" | "template">[],
  { images, project, options, now }: TrustQuestion,
): Promise<void> {
  if (clones.length === 0) return;
  const store = resolve(project, images.records);
  const keys = trustedKeysOf(images);
  const definitions = resolve(project, images.definitions);
  const known = existsSync(definitions) ? inspectImages(definitions) : [];
  const templates = new Map(clones.map((clone) => [clone.template.vmid, clone]));
  const problems = [...templates.values()].map(async ({ spec: { image }, template: { vmid, host } }) => {
    const own = options.get(vmid);
    const title = `template ${image}, VM ${vmid} on ${host}`;
    const identity = own && identityOf(own);
    if (own === undefined || identity === undefined) return [noIdentity(title, vmid)];
    const record = notedRecord(own.get("description") ?? "");
    const found = record === undefined ? undefined : await readRecord(store, record, keys);
    const definition = definitionOf(known, image);
    const demand: Demand = {
      store,
      ...(definition === undefined ? {} : { definition }),
      unsigned: images.unsigned === "accept" ? "accepted" : "refused",
      ...(images.proof && { proof: { stacks: images.proof.stacks, seconds: images.proof.days * 86_400 } }),
    };
    return trustProblems({ title, identity, record }, found, demand, now);
  });
  const found = (await Promise.all(problems)).flat();
  if (found.length > 0) throw new UserErrors(found);
}

/** The keys of the configuration. */
export function trustedKeysOf({ keys }: TrustQuestion["images"]): TrustedKey[] {
  return keys.map((key, i) => trustedKeyOf(key, `evergreen:images.keys[${i}]`));
}

/**
 * Digest of the definition that the repository has for a template's name.
 * @returns undefined when it has none: an image of another repository, or one whose definition was removed
 * @throws UserErrors when a definition that may be that of the image has faults
 */
function definitionOf(all: readonly ImageFolder[], image: string): string | undefined {
  const problems = all.flatMap((one) => ("problems" in one && mayDefine(one.folder, image) ? one.problems : []));
  if (problems.length > 0) throw new UserErrors(problems);
  const definitions = all.flatMap((one) => ("definition" in one ? one.definition : []));
  const own = definitions.find((one) => templateNameOf(one) === image);
  return own && contentDigest(own);
}

/** Whether a folder that cannot be read may have the definition of an image: its name may leave the version open. */
function mayDefine(folder: string, image: string): boolean {
  const { name, version } = nameOf(basename(folder));
  return version === undefined ? image.startsWith(`${name}-v`) : image === `${name}-${version}`;
}

function noIdentity(where: string, vmid: number): Problem {
  return {
    what: "the template has no SMBIOS uuid, by which its record knows it",
    where,
    todo: `bake the image again; a template of Proxmox has one (qm config ${vmid}, smbios1)`,
  };
}
