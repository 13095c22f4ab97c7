import { UserError } from "../../runtime/errors.ts";
import type { ObservedVm } from "../../domain/model/types.ts";
import type { Proxmox } from "./client.ts";
import { ProxmoxError, silentHostOf } from "./errors.ts";
import { Row } from "./parse.ts";
import { hasMemberTag, nodeNameIn, nodeTags, uidTagsIn } from "./tags.ts";
import { readPower, readVm, askWhereItIs, type ListedVm, type Power } from "./vms.ts";

/** The VMs that run on a host, or why the host does not answer. */
type HostSays = { running: ReadonlySet<number> } | { silent: string };

/**
 * Every VM whose tags say that it is a node of the cluster, each read in full. Whether a VM runs is asked of its host,
 * because the list of the data centre is seconds old. A VM whose host does not answer is in the observed state too, as
 * unreachable: it is unknown whether it runs.
 * @throws when a VM cannot be read for any other reason
 */
export async function observeVms(pve: Proxmox, cluster: string, list: readonly ListedVm[]): Promise<ObservedVm[]> {
  const ours = list.filter((vm) => !vm.template && nodeTags(vm.tags)?.cluster === cluster);
  const hosts = [...new Set(ours.map(({ host }) => host))];
  const says = new Map(await Promise.all(hosts.map(async (host) => [host, await readRunning(pve, host)] as const)));
  const all = await Promise.all(ours.map((vm) => observeVm(pve, vm, says.get(vm.host) ?? { running: new Set() })));
  return all.flat();
}

/** The VMs that run on a host at this moment. */
async function readRunning(pve: Proxmox, host: string): Promise<HostSays> {
  const path = `/nodes/${host}/qemu`;
  try {
    const rows = Row.list(await pve.get(path), path);
    return {
      running: new Set(rows.filter((row) => row.text("status") === "running").map((row) => row.number("vmid"))),
    };
  } catch (error) {
    return { silent: whySilent(error) };
  }
}

/** @throws the error when it is not about the host */
function whySilent(error: unknown): string {
  if (!(error instanceof ProxmoxError) || error.silentHost === undefined) throw error;
  return error.message;
}

async function observeVm(pve: Proxmox, vm: ListedVm, says: HostSays): Promise<ObservedVm[]> {
  const { vmid, host } = vm;
  const tags = nodeTags(vm.tags);
  if (tags === undefined) return [];
  const { pool, slot, generation } = tags;
  const [uidTag] = uidTagsIn(vm.tags);
  const place = { pool, slot, generation, ...(uidTag !== undefined && { uidTag }) };
  const unknown = (why: string): ObservedVm => {
    const name = vm.name ?? nodeNameIn(tags);
    return { vmid, name, host, running: false, unreachable: why, uuid: "", ...place };
  };
  if ("silent" in says) return [unknown(says.silent)];
  try {
    const config = await askWhereItIs(pve, vm, (now) => readVm(pve, now));
    const running = says.running.has(vmid);
    // The host's own list shows a VM that is off as running during a backup.
    const power: Power =
      vm.state === undefined && config.lock === undefined && config.host === host
        ? { running }
        : await readPower(pve, config);
    const untagged = hasMemberTag(config.tags) ? {} : { lacksMemberTag: true as const };
    const standing = { ...(config.onBoot && { onBoot: true as const }), ...untagged };
    const { name, uuid, furtherDisks } = config;
    const disks = furtherDisks === undefined ? {} : { furtherDisks };
    return [{ vmid, name, host: config.host, ...power, uuid, ...place, ...standing, ...disks }];
  } catch (error) {
    if (silentHostOf(error) !== undefined) return [unknown(whySilent(error))];
    throw error instanceof ProxmoxError ? unreadable(vm, error) : error;
  }
}

function unreadable(vm: ListedVm, error: ProxmoxError): UserError {
  return new UserError(
    {
      what: `VM ${vm.vmid} carries our tags but cannot be read: ${error.message}`,
      where: `host ${vm.host}, pool ${vm.pool ?? "none"}`,
      todo: "give the token VM.Audit there; nothing is decided on half of the picture",
    },
    { cause: error },
  );
}
