import { Deadline } from "../../runtime/deadline.ts";
import { messageOf, UserError } from "../../runtime/errors.ts";
import { say } from "../../runtime/log.ts";
import { findAccess, serverVms, type Access } from "../../clients/kubernetes/access.ts";
import { isGoingAway, isMarkedMember } from "../../clients/proxmox/membership.ts";
import { isUntoldFounder } from "../../clients/proxmox/untold.ts";
import { isServerThere } from "../../clients/kubernetes/registration.ts";
import { startedFor } from "../../clients/kubernetes/own-cluster.ts";
import { supervisorAt } from "../../clients/kubernetes/urls.ts";
import { nodeTags } from "../../clients/proxmox/tags.ts";
import { isRunning, readVm, type ListedVm, type VmConfig } from "../../clients/proxmox/vms.ts";
import type { SlotInput } from "../input.ts";
import { readImage } from "../node/image.ts";
import { joinData, writeJoinData } from "../node/join-data.ts";
import { powerOn } from "../node/power-on.ts";
import type { StepContext } from "../context.ts";
import { clusterSite } from "./connect.ts";

/**
 * Lets the first server bootstrap the cluster, and waits until it hands out its kubeconfig and its API answers.
 * @throws UserError when the cluster may exist already: a second cluster beside it would destroy both
 */
export async function bootstrapCluster(
  context: StepContext,
  input: SlotInput,
  vm: VmConfig,
  vms: readonly ListedVm[],
): Promise<Access> {
  await refuseSecondCluster(context, input, vms);
  const self = vms.filter(({ vmid }) => vmid === vm.vmid).map((one) => ({ ...one, status: "running" as const }));
  const find = () => findAccess(context.pve, self, clusterSite(input));
  await powerOn(context, vm, "");
  await readImage(context, input, vm);
  // Whoever asked before may have got no answer. A server that has made the cluster is told nothing any more.
  if ((await find()) === undefined) {
    say(`${input.node} is the first server and makes the cluster ${input.cluster}`);
    await writeJoinData(context, vm, input, joinData(input, vm.host, undefined));
  }
  const deadline = new Deadline(
    `the first server ${input.node} to make the cluster`,
    input.site.timeouts.join,
    context.stop,
  );
  let last = "";
  const access = await deadline.poll(
    (probes) => Math.min(100 * probes, 1000),
    async () =>
      await find().catch((error: unknown) => {
        last = messageOf(error);
        return undefined;
      }),
    () => last || "RKE2 has not written its kubeconfig",
  );
  await deadline.poll(
    250,
    async () => ((await isAnswering(access)) ? true : undefined),
    () => last,
  );
  return access;

  async function isAnswering({ client }: Access): Promise<boolean> {
    return await client.get("/api/v1/namespaces/kube-system").then(
      () => true,
      (error: unknown) => {
        last = messageOf(error);
        return false;
      },
    );
  }
}

/**
 * Refuses to bootstrap a second cluster. That no server is seen does not mean that there is none: its VM may be out of
 * the token's sight. So everything that may know of a cluster is asked, and only slot 0 bootstraps, as it is the first
 * to join.
 */
async function refuseSecondCluster(context: StepContext, input: SlotInput, vms: readonly ListedVm[]): Promise<void> {
  const { site, cluster, node, slot } = input;
  const refused = (why: string, where: string, todo: string) =>
    new UserError({ what: `${node} would make a second cluster ${cluster}: ${why}`, where, todo });
  const servers = serverVms(vms, clusterSite(input)).filter(({ vmid }) => vmid !== input.vmid);
  const started = await findStarted(context, site.serverPool, servers);
  if (started.length > 0)
    throw refused("servers of it exist, and none of them answers", started.join(", "), START_THEM);
  const hidden = `look for the VMs of its servers, put them back into the Proxmox pool ${site.proxmoxPool} and start them, then run again; ${LOST}`;
  if (slot !== 0)
    throw refused("slot 0 alone makes one, and its server is not seen", `slot ${slot} of pool ${input.pool}`, hidden);
  if (await isServerThere(site.registrationAddress, context.stop))
    throw refused(
      "a server answers, and its VM is not seen",
      supervisorAt(site.registrationAddress),
      `${hidden}. If that address leads to another cluster, correct site.registrationAddress`,
    );
  const isOurs = ({ template, pool, tags }: ListedVm) =>
    !template && pool === site.proxmoxPool && nodeTags(tags)?.cluster === cluster;
  const agents = await findStarted(
    context,
    site.serverPool,
    vms.filter((vm) => isOurs(vm) && vm.vmid !== input.vmid),
  );
  if (agents.length > 0) throw refused("agents of it were started, and no server is seen", agents.join(", "), hidden);
  const [former] = startedFor(vms, cluster);
  if (former) throw refused("VMs of an earlier one exist", `${former.name ?? "no name"} (VM ${former.vmid})`, hidden);
}

const LOST = 'if all of them are lost: docs/recovery.md, "All servers are lost, and a snapshot is left"';
const START_THEM = `start these servers and wait until they serve; ${LOST}`;

/** Names of the VMs that belong to a cluster, on or off, without a server that was never told to make one. */
async function findStarted({ pve }: StepContext, serverPool: string, vms: readonly ListedVm[]): Promise<string[]> {
  const started: string[] = [];
  for (const vm of vms) {
    const config = await readVm(pve, vm);
    const tags = nodeTags(vm.tags);
    if (tags === undefined) continue;
    const isServer = tags.pool === serverPool;
    if (isServer && (await isUntoldFounder(pve, { ...config, ...tags }))) continue;
    const isMember = isMarkedMember(config, tags) || (await isRunning(pve, vm));
    if (isMember || (isServer && (await isGoingAway(pve, vm)))) started.push(`${config.name} (VM ${config.vmid})`);
  }
  return started;
}
