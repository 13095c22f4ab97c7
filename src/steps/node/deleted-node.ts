import { UserError } from "../../runtime/errors.ts";
import { say } from "../../runtime/log.ts";
import type { Kubernetes } from "../../clients/kubernetes/client.ts";
import { findNode } from "../../clients/kubernetes/nodes.ts";
import { isRunning, type VmConfig } from "../../clients/proxmox/vms.ts";
import type { EtcdStanding } from "../cluster/own-member.ts";
import type { StepContext } from "../context.ts";
import type { SlotInput } from "../input.ts";
import { readOrder } from "./join-data.ts";
import { MemberRemoved } from "./join-log.ts";
import type { Joining } from "./node-view.ts";
import { StandingChanged } from "./last-look.ts";
import { powerOff } from "./power-off.ts";
import { NeverRegistered } from "./verdict.ts";

/*
 * Members whose Node somebody has deleted while they run, with kubectl or by another controller, or that a restored etcd
 * does not have. A kubelet registers only when it starts (kubernetes#71398), and RKE2 takes a server out of etcd whose
 * Node is deleted.
 */

/**
 * Turns an agent off that runs without a Node, so that its kubelet registers once it is started again: it was a member,
 * or a run that was killed has told it to join, and its Node may have been there since. Kubernetes has removed its pods
 * already, while their containers still run.
 * @returns whether the agent was turned off
 */
export async function turnOffUnregistered(
  context: StepContext,
  input: SlotInput,
  { access, fence, view, vm }: Joining,
  wasMember: boolean,
): Promise<boolean> {
  if (input.role !== "agent" || view.node !== undefined) return false;
  if (!(await isRunning(context.pve, vm))) return false;
  if (!wasMember && (await readOrder(context, input.site, vm)) !== "told") return false;
  const check = async () => {
    await fence.check();
    if (await findNode(access.client, input.node)) throw new StandingChanged(`${input.node} has a Node by now`);
  };
  const why = wasMember ? "its Node was deleted" : "it was told to join and has no Node";
  try {
    await check();
    say(`${input.node} runs, and ${why}: it is turned off and on again, so that it registers`);
    await powerOff(context, vm, true, { site: input.site, fence: { check } });
    return true;
  } catch (error) {
    if (!(error instanceof StandingChanged)) throw error;
    return false;
  }
}

/** The error for a server that is out of etcd since its Node was deleted: only another server can have its slot. */
export function deletedServer({ name, vmid, host }: VmConfig): MemberRemoved {
  return new MemberRemoved({
    what: `${name} was a member, and its Node was deleted: RKE2 has taken it out of etcd, and what is on its disk never gets in again`,
    where: `VM ${vmid} on ${host}`,
    todo: "run pulumi up again: it is retired, and its slot gets another server of the same content",
  });
}

/** The error for a server whose member was removed from etcd by hand, or by RKE2: its Node is there still. */
export function removedServer({ name, vmid, host }: VmConfig): MemberRemoved {
  return new MemberRemoved({
    what: `${name} was a member, and etcd has it no more: somebody has removed it, or RKE2 has, as a learner without progress; what is on its disk never gets in again`,
    where: `VM ${vmid} on ${host}`,
    todo: "run pulumi up again: it is retired, and its slot gets another server of the same content",
  });
}

/** What a join has seen of the Node of its machine. */
export interface Registration {
  /** Whether RKE2 takes the machine out of etcd when its Node is deleted: a server beside others. */
  leavesEtcd: boolean;
  /** A machine that was a member runs, and had no Node when its join began. */
  lostNode: boolean;
  /** An earlier run has told this server to join, and it had no Node when its join began. */
  wasTold: boolean;
  /** The Node has been there during the join. */
  hadNode: boolean;
}

/**
 * The error of a join, with its cause when the Node may have been deleted: that says nothing about the image. A server
 * may have been a member for a moment in an earlier run, and may be one still: only one that etcd has no more is over.
 * @param readStanding asks etcd for the server now
 */
export async function explainDeletion(
  client: Kubernetes,
  config: VmConfig,
  { leavesEtcd, lostNode, wasTold, hadNode }: Registration,
  readStanding: () => Promise<EtcdStanding>,
  error: unknown,
): Promise<unknown> {
  const wasDeleted = hadNode && error instanceof UserError && (await isDeleted(client, config.name));
  if (wasDeleted && !leavesEtcd) return deletedMeanwhile(config, false, error);
  const mayBeOver = error instanceof NeverRegistered && !lostNode && wasTold;
  if (wasDeleted || mayBeOver) {
    const standing = await readStanding();
    if (standing !== "none") return memberWithoutNode(config, standing, error);
    return wasDeleted ? deletedMeanwhile(config, true, error) : neverCame(config, error);
  }
  return error instanceof NeverRegistered && lostNode ? deletedNode(config, error) : error;
}

/** Whether a Node is known not to exist. */
async function isDeleted(client: Kubernetes, name: string): Promise<boolean> {
  return await findNode(client, name).then(
    (node) => node === undefined,
    () => false,
  );
}

function deletedMeanwhile({ name, vmid, host }: VmConfig, leavesEtcd: boolean, cause: UserError): UserError {
  const next = leavesEtcd ? "its slot gets another server of the same content" : "it is restarted";
  return new (leavesEtcd ? MemberRemoved : UserError)(
    {
      what: `${name} registered, and its Node was deleted while it joined`,
      where: `VM ${vmid} on ${host}`,
      todo: `find out who deletes Nodes here (kubectl, an autoscaler, another controller), then run pulumi up again: ${next}. The image was not judged`,
    },
    { cause },
  );
}

/** Another server gets the slot: what is on its disk may never get in again. */
function neverCame({ name, vmid, host }: VmConfig, cause: unknown): MemberRemoved {
  return new MemberRemoved(
    {
      what: `${name} was told to join by an earlier run, and has no Node; etcd does not have it, and may have had it before`,
      where: `VM ${vmid} on ${host}; see the end of its join.log`,
      todo: "run pulumi up again: it is retired, and its slot gets another server of the same content. The image was not judged",
    },
    { cause },
  );
}

/** It keeps its slot, and is not recorded as retired: without a Node, nobody but etcd can take it out. */
function memberWithoutNode({ name, vmid, host }: VmConfig, standing: EtcdStanding, cause: unknown): UserError {
  const known = standing === "unknown" ? "whether etcd has it is not known" : `it is a ${standing} of etcd`;
  return new UserError(
    {
      what: `${name} was told to join, and has no Node; ${known}, so it was not given up`,
      where: `VM ${vmid} on ${host}; see the end of its join.log`,
      todo: `leave it on, and find out why its kubelet does not register (rke2-server in it); a Node that was deleted comes back when it starts again (qm reboot ${vmid}, once the cluster can do without it). Then run pulumi up again; the image was not judged. If it does not come: docs/recovery.md, "A server did not get through its join"`,
    },
    { cause },
  );
}

/** A member that does not register again: it has registered with the same image before. */
function deletedNode({ name, vmid, host }: VmConfig, cause: NeverRegistered): UserError {
  return new UserError(
    {
      what: `${name} was a member, and its Node was deleted; it has not registered again`,
      where: `VM ${vmid} on ${host}; see the end of its join.log`,
      todo: `restart it once the cluster can do without it (qm reboot ${vmid}): a kubelet registers only when it starts. Then run again; the image was not judged`,
    },
    { cause },
  );
}
