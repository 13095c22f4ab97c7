import { requireBakeToken } from "../clients/proxmox/bake-token.ts";
import type { Config } from "../config/config.ts";
import { imageOf, templateOptionsOf } from "../domain/images/bake.ts";
import { bakeWords, duePlanProblems, isDue } from "../domain/images/bake-plan.ts";
import type { TemplateOptions } from "../domain/images/hardware.ts";
import type { PlannedImage } from "../domain/rollout/planned.ts";
import type { ObservedBake } from "../observe/baked-images.ts";
import type { ObservedCluster } from "../observe/observed-cluster.ts";
import type { Clone } from "../observe/templates.ts";
import { UserErrors } from "../runtime/errors.ts";
import { programVersion } from "../runtime/project.ts";
import { newSlots, poolPlans, renderClusterPlan, type ClusterPlan } from "./cluster-plan.ts";

type Bakes = Pick<ObservedCluster, "bakes">;

const dueOf = ({ bakes = [] }: Bakes): readonly ObservedBake[] => bakes.filter(isDue);

/** The options of templates that are not there yet, by VMID, as their definitions say. */
export function optionsOfMissing({ bakes = [] }: Bakes): Map<number, TemplateOptions> {
  const missing = bakes.filter(({ state }) => state === "missing");
  return new Map(missing.map(({ bake }) => [bake.vmid, templateOptionsOf(bake)]));
}

/** Whether a clone waits for its template to be baked or proved by this run: its record is there only then. */
export function awaitsProof(observed: Bakes, { spec, template }: Pick<Clone, "spec" | "template">): boolean {
  return dueOf(observed).some(({ bake }) => bake.vmid === template.vmid && imageOf(bake) === spec.image);
}

/**
 * Checks that what this run bakes can be baked, signed, and trusted afterwards. The proof itself, on which all of the
 * rollout depends, ends well only with a record that is whole and of tests that passed.
 * @throws UserErrors that say what is missing; UserError without the token of bakes
 */
export async function requireDueBakes(
  observed: Bakes,
  clones: readonly Pick<Clone, "spec" | "template">[],
  { images, isPreview, now }: { images: Config["images"]; isPreview: boolean; now: Date },
): Promise<void> {
  const due = dueOf(observed);
  if (due.length === 0 || images === undefined) return;
  if (!isPreview) requireBakeToken(process.env);
  // Loading what reads keys takes longer than all other checks together.
  const [{ readSigningKey }, { trustedKeysOf }] = await Promise.all([
    import("../evidence/own-key.ts"),
    import("../observe/image-trust.ts"),
  ]);
  const { unsigned, proof } = images;
  const demand = {
    ...{ unsigned, keys: trustedKeysOf(images), signedBy: readSigningKey(process.env)?.id, signs: !isPreview },
    ...(proof && { proof }),
  };
  const cloned = new Set(clones.filter((clone) => awaitsProof(observed, clone)).map(({ spec }) => spec.image));
  const problems = duePlanProblems(due, cloned, demand, now);
  if (problems.length > 0) throw new UserErrors(problems);
}

/**
 * What is declared of the images that the stack bakes.
 * @param stackName asked only when there are some: the name of the stack with its project's
 */
export function plannedImages(
  { bakes = [] }: Bakes,
  { images }: Pick<Config, "images">,
  stackName: () => string,
): PlannedImage[] {
  const dueSince = new Date().toISOString();
  return bakes.map((one) => ({
    order: {
      bake: one.bake,
      vmid: one.proofVmid,
      records: images?.records ?? "",
      builder: { stack: stackName(), version: programVersion() },
    },
    ...(isDue(one) ? { dueSince } : {}),
  }));
}

/** The plan of a run as lines for the operator: what it does for images, and then pool by pool. */
export const runWords = (observed: Bakes, clusterPlan: ClusterPlan): string[] => [
  ...imageWords(observed, clusterPlan),
  ...renderClusterPlan(clusterPlan),
];

function imageWords({ bakes = [] }: Bakes, clusterPlan: ClusterPlan): string[] {
  const made = poolPlans(clusterPlan).flatMap(({ pool }) =>
    newSlots(clusterPlan, pool).map(({ generation }) => ({ pool, image: generation.spec.image })),
  );
  const byImage = Map.groupBy(made, ({ image }) => image);
  return bakeWords(
    bakes,
    new Map([...byImage].map(([image, all]) => [image, [...new Set(all.map(({ pool }) => pool))]])),
  );
}
