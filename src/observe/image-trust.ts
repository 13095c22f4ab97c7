import { existsSync } from "node:fs";
import { basename, resolve } from "node:path";
import type { Config } from "../config/config.ts";
import { nameOf } from "../config/image-definition.ts";
import { inspectImages, type ImageFolder } from "../config/images.ts";
import { recordState, type RecordState } from "../domain/images/bake-plan.ts";
import { contentDigest, templateNameOf, type ImageDefinition } from "../domain/images/definition.ts";
import type { FoundRecord } from "../domain/images/found-record.ts";
import type { TemplateOptions } from "../domain/images/hardware.ts";
import { identityOf, notedRecord } from "../domain/images/template-identity.ts";
import { trustProblems, type Demand, type ShownTemplate } from "../domain/images/trust.ts";
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
    const template = { image, vmid, host, options: options.get(vmid) };
    const shown = shownTemplate(template);
    if (shown === undefined) return [noIdentity(titleOf(template), vmid)];
    const definition = definitionOf(known, image);
    const demand: Demand = {
      ...demandOf(images, store),
      ...(definition === undefined ? {} : { definition }),
      ...(images.proof && { proof: { stacks: images.proof.stacks, seconds: images.proof.days * 86_400 } }),
    };
    return trustProblems(shown, await findRecord(shown, store, keys), demand, now);
  });
  const found = (await Promise.all(problems)).flat();
  if (found.length > 0) throw new UserErrors(found);
}

/** A template that is asked about. */
interface AskedTemplate {
  image: string;
  vmid: number;
  host: string;
  /** As Proxmox has them; undefined: they were not read. */
  options: TemplateOptions | undefined;
}

/** How far the template of a definition is, whatever other stacks say of it. */
export async function readRecordState(
  template: AskedTemplate,
  definition: ImageDefinition,
  { images, project, now }: Omit<TrustQuestion, "options">,
): Promise<RecordState> {
  const demand = { ...demandOf(images, resolve(project, images.records)), definition: contentDigest(definition) };
  const shown = shownTemplate(template);
  if (shown === undefined) return "distrusted";
  return recordState(shown, await findRecord(shown, demand.store, trustedKeysOf(images)), demand, now);
}

const demandOf = ({ unsigned }: TrustQuestion["images"], store: string): Pick<Demand, "store" | "unsigned"> => ({
  store,
  unsigned: unsigned === "accept" ? "accepted" : "refused",
});

/** @returns undefined when it has no identity */
function shownTemplate({ image, vmid, host, options }: AskedTemplate): ShownTemplate | undefined {
  const identity = options && identityOf(options);
  if (identity === undefined) return undefined;
  return { title: titleOf({ image, vmid, host }), identity, record: notedRecord(options?.get("description") ?? "") };
}

const titleOf = ({ image, vmid, host }: Omit<AskedTemplate, "options">): string =>
  `template ${image}, VM ${vmid} on ${host}`;

async function findRecord(
  { record }: ShownTemplate,
  store: string,
  keys: readonly TrustedKey[],
): Promise<FoundRecord | undefined> {
  return record === undefined ? undefined : await readRecord(store, record, keys);
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
