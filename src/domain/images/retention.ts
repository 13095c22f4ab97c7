/**
 * Which templates may be removed: none that is in use, among the newest, needed for a rollback, the base of a linked
 * clone, or not this stack's own. What is not known for sure keeps everything.
 */

/** A template that Proxmox has, on one host: an image may have one on each. */
export interface BakedTemplate {
  vmid: number;
  host: string;
  /** Name of the template, which is the name of the image in the configuration: `ubuntu-24-04-rke2-v1.2.0`. */
  image: string;
  /** The definition and its version, as its record says; undefined when it has no record that fits. */
  definition: { name: string; version: string } | undefined;
  /** The stack that baked it, as its record says; undefined as above. */
  bakedBy: string | undefined;
  /** Whether Proxmox protects it from being removed. */
  isProtected: boolean;
}

/** What is known of the use of images. */
export interface ImageUse {
  /** This stack. */
  stack: string;
  /** Images of the pools of the configuration, and of every node that there is. */
  images: ReadonlySet<string>;
  /** Images of each update of the history, newest first; undefined when the history cannot be read. */
  updates: readonly ReadonlySet<string>[] | undefined;
  /** VMIDs of templates whose volumes are the base of another volume; undefined when not every storage could be read. */
  bases: ReadonlySet<number> | undefined;
  /** Hosts that do not answer: what is on them may use any template. */
  silentHosts: readonly string[];
}

/** How much is kept beyond what is needed. */
export interface RetentionPolicy {
  /** Versions of each definition, the newest ones. */
  versions: number;
  /** Updates, the last ones, whose images are kept, so that a rollback to each of them finds them. */
  updates: number;
}

/** Why a template is kept: by nothing, it may be removed. */
export interface RetentionVerdict {
  template: BakedTemplate;
  keptBy: readonly string[];
}

/** What becomes of each template, in their order. */
export function retention(
  templates: readonly BakedTemplate[],
  use: ImageUse,
  policy: RetentionPolicy,
): RetentionVerdict[] {
  const newest = newestVersions(templates, use.stack, policy.versions);
  const unknown = unknownUse(use);
  return templates.map((template) => ({
    template,
    keptBy: isOwn(template, use.stack)
      ? [...unknown, ...usesOf(template, use, policy), ...(newest.has(keyOf(template)) ? [newestReason(policy)] : [])]
      : [foreignReason(template, use.stack)],
  }));
}

/** The templates that may be removed. */
export function removable(verdicts: readonly RetentionVerdict[]): BakedTemplate[] {
  return verdicts.filter(({ keptBy }) => keptBy.length === 0).map(({ template }) => template);
}

const isOwn = ({ definition, bakedBy }: BakedTemplate, stack: string): boolean =>
  definition !== undefined && bakedBy === stack;

function foreignReason({ bakedBy }: BakedTemplate, stack: string): string {
  return bakedBy === undefined || bakedBy === stack
    ? "it has no record that fits: it is not known to be ours"
    : `the stack ${bakedBy} baked it`;
}

/** What is not known keeps every template. */
function unknownUse({ updates, bases, silentHosts }: ImageUse): string[] {
  return [
    ...silentHosts.map((host) => `the host ${host} does not answer, and may have nodes of it`),
    ...(updates === undefined ? ["the history of updates cannot be read"] : []),
    ...(bases === undefined ? ["it is not known which templates have linked clones"] : []),
  ];
}

function usesOf({ image, vmid, isProtected }: BakedTemplate, use: ImageUse, policy: RetentionPolicy): string[] {
  const back = (use.updates ?? []).slice(0, policy.updates).findIndex((images) => images.has(image));
  return [
    ...(use.images.has(image) ? ["the configuration or a node has it"] : []),
    ...(back >= 0 ? [`update ${back + 1} of the last ${policy.updates} used it`] : []),
    ...(use.bases?.has(vmid) === true ? ["linked clones lie on it"] : []),
    ...(isProtected ? ["Proxmox protects it (option protection)"] : []),
  ];
}

const newestReason = ({ versions }: RetentionPolicy): string =>
  `it is among the newest ${versions} versions of its definition`;

const keyOf = ({ definition }: BakedTemplate): string => `${definition?.name ?? ""}\n${definition?.version ?? ""}`;

/** The newest versions of each definition. All copies of a version are one. */
function newestVersions(templates: readonly BakedTemplate[], stack: string, count: number): Set<string> {
  const own = templates.filter((template) => isOwn(template, stack));
  const byName = Map.groupBy(own, ({ definition }) => definition?.name ?? "");
  const kept = [...byName].flatMap(([name, alike]) => {
    const versions = new Set(alike.map(({ definition }) => definition?.version ?? ""));
    const newest = [...versions].toSorted((a, b) => compareVersions(b, a)).slice(0, count);
    return newest.map((version) => `${name}\n${version}`);
  });
  return new Set(kept);
}

/** Negative when `a` is older: `v1.9.0` than `v1.10.0`. */
function compareVersions(a: string, b: string): number {
  const parts = (version: string): number[] => version.slice(1).split(".").map(Number);
  const [left, right] = [parts(a), parts(b)];
  const index = left.findIndex((part, i) => part !== right[i]);
  return index < 0 ? 0 : (left[index] ?? 0) - (right[index] ?? 0);
}
