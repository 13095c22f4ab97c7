import type { Kubernetes } from "../../clients/kubernetes/client.ts";
import { mayBeCalled } from "../../clients/kubernetes/etcd-members.ts";
import type { Fence } from "../../clients/kubernetes/lease.ts";
import { findNode, isReady } from "../../clients/kubernetes/nodes.ts";
import type { ServerNode } from "../../clients/kubernetes/servers.ts";
import { isRunning } from "../../clients/proxmox/vms.ts";
import { UserError } from "../../runtime/errors.ts";
import type { ServerProbe } from "../cluster/control-plane.ts";
import { inEtcd } from "../cluster/own-member.ts";
import { allFences, type StepContext } from "../context.ts";
import type { DepartingNode } from "./departing-nodes.ts";

/*
 * The last look at a node before its machine is turned off. Its guest, a thaw and a lock of Proxmox are waited for after
 * the node was looked at, up to the time of a drain each, and the node may become another one meanwhile: a server gets into
 * etcd, a node without a Node registers and gets pods, a dead one comes back.
 */

/** A node is not any more what it was when it was decided to turn it off; it is looked at once more. */
export class StandingChanged extends Error {}

/** What has decided that a node is turned off. */
interface Decided {
  departing: DepartingNode;
  /** Whether its pods were evicted, behind a cordon. */
  isDrained: boolean;
  /** The members of etcd, for a server. */
  probe: ServerProbe | undefined;
}

/** A fence that holds while a node is what it was when it was decided to turn it off. */
export function lastLook(
  { departing, isDrained, probe }: Decided,
  { client, fence, context }: { client: Kubernetes; fence: Fence; context: StepContext },
): Fence {
  const { name, role, vm } = departing;
  const check = async () => {
    if (departing.node === undefined) {
      if (probe && partIn(await probe(context.stop), departing) !== "none")
        throw new StandingChanged(`${name} is in etcd by now`);
      if (await findNode(client, name)) throw new StandingChanged(`${name} has a Node by now`);
      return;
    }
    // A server that has left etcd ends no pods any more, whatever becomes of its Node.
    if (role === "server") return;
    const now = await findNode(client, name);
    if (now === undefined) return;
    if (isDrained) {
      if (now.spec?.unschedulable !== true) throw uncordoned(name);
    } else if (isReady(now) && vm !== undefined && (await isRunning(context.pve, vm)))
      throw new StandingChanged(`${name} is Ready by now`);
  };
  return allFences(fence, { check, requireOwned: () => fence.requireOwned() });
}

/** What etcd has of a server without a Node: a member that has never started goes by its address. */
export function partIn(servers: readonly ServerNode[], { name, own }: DepartingNode): ServerNode["member"] {
  return inEtcd(servers, mayBeCalled(own ?? {}, name))?.member ?? "none";
}

/** The error for a node whose cordon somebody has lifted: pods come to it that nobody evicts. */
export function uncordoned(name: string): UserError {
  return new UserError({
    what: `${name} was uncordoned while it was drained`,
    where: `Node ${name}, which serves on`,
    todo: "find out who lifts cordons here (kubectl uncordon, another controller), then run pulumi up again. Nothing was judged",
  });
}
