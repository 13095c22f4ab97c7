import { Deadline } from "../../runtime/deadline.ts";
import { UserError } from "../../runtime/errors.ts";
import { say } from "../../runtime/log.ts";
import { ProxmoxError } from "../../clients/proxmox/errors.ts";
import { setTags } from "../../clients/proxmox/marks.ts";
import { start } from "../../clients/proxmox/power.ts";
import { standingOf, writeStanding, type Standing } from "../../clients/proxmox/settle.ts";
import { uidTag } from "../../clients/proxmox/tags.ts";
import { readPower, type VmConfig } from "../../clients/proxmox/vms.ts";
import type { StepContext } from "../context.ts";
import { givenUpByHa } from "./given-up-by-ha.ts";

/** QEMU states of a guest that stands still until it is resumed. */
const still = new Set(["paused", "io-error", "suspended", "internal-error", "guest-panicked", "watchdog"]);

/** Longest wait for a lock of Proxmox on a VM that is to be started, in seconds. */
const lockSeconds = 300;

const member: Standing = { onBoot: true, hasMemberTag: true };

/**
 * Whether the guest of a running VM continues by itself.
 * @param state QEMU's state of the VM, when Proxmox reports it
 */
export const mayGoOn = (state = "running"): boolean => !still.has(state);

/**
 * Starts the VM when it is off, and gives it the standing of a member of the cluster. The write right before that carries
 * the digest of what was proved, so that no other VM is started: a read between the two may take a minute, and another VM
 * may have the VMID by then.
 * @param uid of its cluster; empty while there is none
 */
export async function powerOn(context: StepContext, proved: VmConfig, uid: string): Promise<void> {
  const { running, state, isGivenUpByHa } = await readPower(context.pve, proved);
  if (running && !mayGoOn(state)) throw standsStill(proved, state ?? "");
  const tag = uid === "" ? undefined : uidTag(uid);
  if (running && proved.onBoot && standingOf(proved).hasMemberTag) {
    if (tag !== undefined && !proved.tags.includes(tag)) await setUidTag(context, proved, tag);
    return;
  }
  if (!running && isGivenUpByHa) throw givenUpByHa(proved);
  const deadline = new Deadline(`the VM of ${proved.name} to be free`, lockSeconds, context.stop);
  const standing = tag === undefined ? member : { ...member, uidTag: tag };
  const config = await writeStanding(context.pve, proved, { ...proved, tags: [] }, standing, deadline);
  if (running) return;
  say(`starting ${config.name} (VM ${config.vmid} on ${config.host})`);
  await start(context.pve, config, context.stop);
}

/** A member that runs needs the tag for later: a lock of Proxmox is not waited for. */
async function setUidTag({ pve }: StepContext, proved: VmConfig, tag: string): Promise<void> {
  try {
    await setTags(pve, proved.host, { ...proved, tags: [] }, { add: [tag], remove: [] });
  } catch (error) {
    if (!(error instanceof ProxmoxError)) throw error;
    say(`${proved.name} does not get the tag ${tag} now: ${error.message}; the next update gives it`);
  }
}

/**
 * The error for a VM that we must not resume: it was paused, or its storage is full. Its image cannot be judged
 * meanwhile.
 */
function standsStill({ name, vmid, host }: VmConfig, state: string): UserError {
  return new UserError({
    what: `${name} stands still: Proxmox calls its state ${state}`,
    where: `VM ${vmid} on ${host}`,
    todo: "look at it in Proxmox (a full storage gives io-error), resume it there (qm resume), then run again; nothing was judged",
  });
}
