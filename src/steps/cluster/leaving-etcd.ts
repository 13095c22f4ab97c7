import { readWantedServers } from "../../clients/kubernetes/cluster-record.ts";
import type { Access } from "../../clients/kubernetes/access.ts";
import type { Kubernetes } from "../../clients/kubernetes/client.ts";
import { readPoolRecord } from "../../clients/kubernetes/record.ts";
import type { ServerNode } from "../../clients/kubernetes/servers.ts";
import { mayLeaveAsDead, whyServerMayNotLeave } from "../../domain/availability/quorum.ts";
import { hasJoined } from "../../domain/rollout/slot-state.ts";
import { Deadline, DeadlineError } from "../../runtime/deadline.ts";
import { say } from "../../runtime/log.ts";
import type { StepContext } from "../context.ts";
import type { ClusterInput } from "../input.ts";
import { refused, type ServerProbe } from "./control-plane.ts";

/** A server that leaves etcd. */
interface Leaving {
  name: string;
  pool: string;
}

/**
 * Requires that a server may leave etcd and that as many voters stay as the last rollout wanted. A departing server
 * whose slot is handed over does not wait for slots that are still empty. An incomplete server does: it may be the
 * voter that an empty slot lacks.
 * @throws ControlPlaneRefusal with the reason when the member may not be removed now
 */
export async function requireMayLeave(
  client: Kubernetes,
  leaving: Leaving,
  servers: readonly ServerNode[],
  isIncomplete: boolean,
): Promise<void> {
  const { name } = leaving;
  const why = whyServerMayNotLeave(name, servers, await readWanted(client, leaving, servers, isIncomplete));
  if (why !== undefined) throw refused({ what: `${name} may not be taken out of etcd now: ${why}` });
}

/** What the decision about a server needs to know. */
interface Work {
  access: Access;
  context: StepContext;
  input: ClusterInput;
  /** Whether no other node takes the slot now. */
  isUnreplaced?: true;
}

/**
 * Reads the servers for the decision whether one may leave etcd. A voter that does not serve counts as dead, and a dead
 * one may leave whatever number is wanted; but the API server of one that has just got its vote, or was restarted, is
 * still to come. Such a voter gets the time of a gate to serve, once.
 * @param probe reads the servers once
 */
export function probeLeaving(leaving: Leaving, work: Work, probe: ServerProbe): ServerProbe {
  const { access, context, input, isUnreplaced = false } = work;
  const { name } = leaving;
  const isOneTooFew = async (servers: readonly ServerNode[]) =>
    mayLeaveAsDead(name, servers, await readWanted(access.client, leaving, servers, isUnreplaced));
  const { gate } = input.site.timeouts;
  let until: Deadline | undefined;
  return async (signal) => {
    const servers = await probe(signal);
    if (until?.passed || !(await isOneTooFew(servers))) return servers;
    say(`${name} is a voter that does not serve, and would be one too few: it gets ${gate} s to serve`);
    until ??= new Deadline(`the voter ${name} to serve`, gate, context.stop);
    // Nothing is known during an election.
    const look = async () => {
      const now = await probe(signal).catch(() => undefined);
      return now === undefined || (await isOneTooFew(now)) ? undefined : now;
    };
    return await until.poll(1000, look).catch(async (error: unknown) => {
      if (!(error instanceof DeadlineError)) throw error;
      return await probe(signal);
    });
  };
}

/** How many healthy voters have to stay. */
async function readWanted(
  client: Kubernetes,
  { name, pool }: Leaving,
  servers: readonly ServerNode[],
  isIncomplete: boolean,
): Promise<number> {
  const slotsOf = (some: readonly { slot?: string | number | undefined }[]) =>
    new Set(some.map(({ slot }) => String(slot))).size;
  // A server whose Node was deleted is in neither list, and its slot waits for another.
  const owners = (await readPoolRecord(client, pool)).nodes.filter(hasJoined);
  // Before the first rollout no number is recorded: a slot that has another server keeps it, and a slot without another
  // is given up.
  const told = (await readWantedServers(client)) ?? slotsOf(servers.filter((server) => server.name !== name));
  const wanted = isIncomplete ? told : Math.min(told, slotsOf([...servers, ...owners]));
  return Math.max(1, wanted);
}
