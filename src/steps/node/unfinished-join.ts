import { say } from "../../runtime/log.ts";
import { clock } from "../../runtime/clock.ts";
import { Deadline, DeadlineError } from "../../runtime/deadline.ts";
import { messageOf } from "../../runtime/errors.ts";
import { readClusterUid } from "../../clients/kubernetes/cluster-uid.ts";
import { proveVm } from "../../clients/proxmox/identity.ts";
import { isRunning } from "../../clients/proxmox/vms.ts";
import { learnerSeconds } from "../../domain/availability/quorum.ts";
import { ControlPlaneRefusal, type ServerProbe } from "../cluster/control-plane.ts";
import type { Decommissioning, DepartingNode } from "./departing-nodes.ts";
import { partIn, StandingChanged } from "./last-look.ts";
import { powerOn } from "./power-on.ts";

/*
 * Servers without a Node that etcd has. A learner is not over with its power: RKE2 has etcd promote one that had caught up
 * before, and etcd does not ask whether it lives (k3s pkg/etcd/etcd.go, trackLearnerProgress; etcd server.go,
 * isLearnerReady). It is a voter then that nobody but an operator takes out, and one too many that is off. So it stays as
 * it is until it is either a voter, which gets its Node and leaves like any other, or out of etcd.
 */

/** Longest time, in seconds, for which a server that may have a vote stays off while etcd does not answer. */
const unheardSeconds = 8;
const probeMs = 5_000;

/** Waits for the end of a join. */
interface UnfinishedJoin {
  /**
   * Waits until etcd does not have the server, or has it as a voter that runs and has had its time to register.
   * @param isOff it was turned off just now: it may have joined while it shut down
   * @throws StandingChanged when it has a Node by now
   * @throws ControlPlaneRefusal when it is a voter that was off, or may be one, and was started again; or when it is a
   *   learner still
   */
  awaitEnd: (isOff?: "off") => Promise<void>;
}

/** @param probe reads the servers by their Nodes and by etcd's members */
export async function watchJoin(
  one: DepartingNode,
  probe: ServerProbe,
  { access, context, input }: Decommissioning,
): Promise<UnfinishedJoin> {
  const { name, vm, expected } = one;
  const { stop, pve } = context;
  const canStart = vm !== undefined && expected.uuid !== undefined;
  // Read now: without a quorum there is no API to ask.
  const uid = canStart ? await readClusterUid(access.client) : "";
  const startAgain = async () => {
    if (vm) await powerOn(context, await proveVm(pve, vm.host, expected), uid);
  };
  const isOffNow = async () => canStart && !(await isRunning(pve, vm));

  const awaitEnd = async (isOff?: "off") => {
    const { gate } = input.site.timeouts;
    const deadline = new Deadline(`the join of ${name} to end`, learnerSeconds + gate, stop);
    let why = "";
    let wasLearner = false;
    let unheard: Deadline | undefined;
    let registers: Deadline | undefined;
    const look = async (): Promise<true | undefined> => {
      const began = new Deadline("etcd to answer", unheardSeconds, stop);
      const servers = await probe(AbortSignal.any([stop, clock.timeout(probeMs)])).catch((error: unknown) => {
        why = messageOf(error);
        return undefined;
      });
      stop.throwIfAborted();
      if (servers === undefined) {
        unheard ??= began;
        // It may have taken the quorum with it.
        if (unheard.passed && (wasLearner || isOff !== undefined) && (await isOffNow())) {
          await startAgain();
          throw unheardOf(one);
        }
        return undefined;
      }
      unheard = undefined;
      const part = partIn(servers, one);
      const hasNode = servers.some((server) => server.name === name && server.node);
      const isDown = (part === "voter" || (part === "learner" && hasNode)) && (await isOffNow());
      if (part === "voter" && isDown) {
        await startAgain();
        throw voterByNow(one);
      }
      // It may have registered while it shut down: a learner that is off gets its vote all the same.
      if (hasNode && !isDown) throw new StandingChanged(`${name} has a Node by now`);
      if (part === "learner" && !wasLearner)
        say(`${name} is a learner of etcd: it is waited for until it is a voter, or RKE2 has removed it`);
      wasLearner ||= part === "learner";
      why = `it is a ${part} of etcd without a Node`;
      if (part === "voter") registers ??= new Deadline(`${name} to register`, gate, stop);
      return part === "none" || registers?.passed === true ? true : undefined;
    };
    await deadline
      .poll(1000, look, () => why)
      .catch((error: unknown) => {
        throw error instanceof DeadlineError ? stillOpen(name, why) : error;
      });
  };
  return { awaitEnd };
}

const onceReady =
  'wait until it is Ready, then run pulumi up again: it is taken out of etcd first. If it does not come back: docs/recovery.md, "A server did not get through its join"';

const placeOf = ({ vm, expected }: DepartingNode): string => `VM ${expected.vmid}${vm ? ` on ${vm.host}` : ""}`;

const voterByNow = (one: DepartingNode): ControlPlaneRefusal =>
  new ControlPlaneRefusal({
    what: `${one.name} has become a voter of etcd while it was off, and is started again`,
    where: placeOf(one),
    todo: onceReady,
  });

const unheardOf = (one: DepartingNode): ControlPlaneRefusal =>
  new ControlPlaneRefusal({
    what: `${one.name} may have become a voter of etcd, which does not answer since it is off: it is started again`,
    where: placeOf(one),
    todo: onceReady,
  });

function stillOpen(name: string, why: string): ControlPlaneRefusal {
  return new ControlPlaneRefusal({
    what: `whether ${name} becomes a voter of etcd is still open, so it stays as it is`,
    where: why,
    todo: "look at rke2-server on the servers: the leader of etcd promotes a learner, or removes it after five minutes without progress. Then run pulumi up again",
  });
}
