/** How long a bake waits for its guest, and what it waits for in words. */
import { STAGES, type Kind } from "./stages.ts";

/** Beyond the guest's own deadline of a stage, in seconds: the guest then says itself which command it was. */
const GRACE = 180;
/** From power on until cloud-init runs the bake, on a busy host. */
const BOOT = 900;
/** The guest agent of a cloud image comes with its packages: until this stage has ended, a guest may be silent. */
const AGENT_COMES_WITH = "packages";

/** A wait for a guest. */
export interface GuestWait {
  /** What has to come, as part of a sentence. */
  awaited: string;
  /** Name of the stage in a message; undefined before the first one that is known. */
  stage: string | undefined;
  seconds: number;
}

/**
 * What is waited for next.
 * @param stage the last one that the guest has begun; undefined: none that is known
 * @param hasAnswered whether its agent has answered in this boot
 */
export function waitFor(kind: Kind, stage: string | undefined, hasAnswered: boolean): GuestWait {
  if (stage === "finished") return { awaited: `the result of the ${kind}`, stage, seconds: GRACE };
  const own = STAGES[kind].find(({ name }) => name === stage);
  if (own !== undefined) return { awaited: `the end of the stage ${own.name}`, stage, seconds: own.seconds + GRACE };
  if (stage !== undefined) return { awaited: `the end of the stage ${stage}`, stage, seconds: BOOT };
  const first = STAGES[kind][0]?.name ?? "";
  if (kind === "seal") return { awaited: `the stage ${first}`, stage: first, seconds: GRACE };
  if (hasAnswered) return { awaited: `the stage ${first}`, stage: first, seconds: BOOT };
  const silent = STAGES.bake.slice(0, STAGES.bake.findIndex(({ name }) => name === AGENT_COMES_WITH) + 1);
  const names = silent.map(({ name }) => name).join(", ");
  const seconds = silent.reduce((sum, { seconds: its }) => sum + its, BOOT + GRACE);
  return { awaited: `the guest agent, which comes with the stages ${names}`, stage: undefined, seconds };
}

/** The longest that a bake may take, in seconds: every stage to its end, and what Proxmox does with whole disks. */
export function longestBake(): number {
  const stages = [...STAGES.bake, ...STAGES.seal].reduce((sum, { seconds }) => sum + seconds + GRACE, 0);
  return BOOT + stages + 2 * 3600;
}
