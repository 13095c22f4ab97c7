import { Deadline } from "../common/deadline.ts";
import { messageOf, UserError } from "../common/errors.ts";
import { say } from "../common/log.ts";
import { findAccess, serverVms, type Access } from "../kubernetes/access.ts";
import { isRunning, readVm, type ListedVm, type VmConfig } from "../proxmox/vms.ts";
import type { SlotInput } from "./input.ts";
import { imageOf } from "./image.ts";
import { joinData, writeJoinData } from "./join-data.ts";
import { powerOn } from "./power-on.ts";
import type { Run } from "./run.ts";
import { clusterSite } from "./scene.ts";

/**
 * Lets the first server make the cluster, and waits until it hands out its kubeconfig.
 * @throws UserError when another server was ever started: a second cluster beside the first would be the end of both
 */
export async function foundCluster(
  run: Run,
  input: SlotInput,
  vm: VmConfig,
  vms: readonly ListedVm[],
): Promise<Access> {
  await refuseSecondCluster(run, input, vms);
  const self = vms.filter(({ vmid }) => vmid === vm.vmid);
  await powerOn(run, vm, self[0]?.status ?? "unknown");
  await imageOf(run, input, vm);
  say(`${input.node} is the first server and makes the cluster ${input.cluster}`);
  await writeJoinData(run, vm, input.role, joinData(input, undefined));
  const deadline = new Deadline(
    `the first server ${input.node} to make the cluster`,
    input.site.timeouts.join,
    run.stop,
  );
  let last = "";
  const access = await deadline.poll(
    (probes) => Math.min(100 * probes, 1000),
    async () => {
      const running = self.map((one) => ({ ...one, status: "running" as const }));
      return await findAccess(run.pve, running, clusterSite(input)).catch((error: unknown) => {
        last = messageOf(error);
        return undefined;
      });
    },
    () => last || "RKE2 has not written its kubeconfig",
  );
  await deadline.poll(
    250,
    async () => ((await answers(access)) ? true : undefined),
    () => last,
  );
  return access;

  async function answers({ client }: Access): Promise<boolean> {
    return await client.get("/api/v1/namespaces/kube-system").then(
      () => true,
      (error: unknown) => {
        last = messageOf(error);
        return false;
      },
    );
  }
}

/** Whoever was started by us starts at boot: so a server that is off, but belongs to a cluster, is known. */
async function refuseSecondCluster(run: Run, input: SlotInput, vms: readonly ListedVm[]): Promise<void> {
  const others = serverVms(vms, clusterSite(input)).filter(({ vmid }) => vmid !== input.vmid);
  const members: string[] = [];
  for (const other of others) {
    const config = await readVm(run.pve, other);
    if (config.onBoot || (await isRunning(run.pve, other))) members.push(`${config.name} (VM ${config.vmid})`);
  }
  if (members.length === 0) return;
  throw new UserError({
    what: `${input.node} would make a second cluster ${input.cluster}: servers of it exist, and none of them answers`,
    where: members.join(", "),
    todo: "start these servers and wait until they serve; if the cluster is lost, restore it from a snapshot",
  });
}
