import { listBridges, type Bridge } from "../clients/proxmox/bridges.ts";
import type { Proxmox } from "../clients/proxmox/client.ts";
import { silentHostOf } from "../clients/proxmox/errors.ts";
import { Row } from "../clients/proxmox/parse.ts";
import { listVms } from "../clients/proxmox/vms.ts";
import { hardwareOf, propertiesOf, sizeGiB } from "../domain/images/hardware.ts";
import { rke2Of } from "./observed-cluster.ts";

/** A template that can be an image of nodes. */
export interface SurveyedTemplate {
  name: string;
  rke2: string;
  host: string;
  /** Proxmox pool that it is in. */
  pool: string | undefined;
  /** Storage of its disk. */
  storage: string | undefined;
  /** Its size, rounded up; undefined where Proxmox does not say it. */
  diskGiB: number | undefined;
  /** Bridge of its first card. */
  bridge: string | undefined;
}

/** What a token can see of a Proxmox site, as far as a configuration of a cluster there needs it. */
export interface SiteSurvey {
  /** Hosts that answer. */
  hosts: string[];
  /** Hosts that do not. */
  silent: string[];
  templates: SurveyedTemplate[];
  /** Bridges of each host that the token may use. */
  bridges: ReadonlyMap<string, readonly Bridge[]>;
  /** Names of the Proxmox pools that the token can see. */
  pools: string[];
  /** VMIDs of all VMs that the token can see. */
  vmids: number[];
}

/** Reads a site. It changes nothing, and a token that may only read is enough. */
export async function readSite(pve: Proxmox): Promise<SiteSurvey> {
  const rows = Row.list(await pve.get("/nodes"), "/nodes");
  const names = rows.map((row) => ({ name: row.text("node"), isOnline: row.text("status") === "online" }));
  const list = await listVms(pve);
  const images = list.flatMap((vm) => {
    const rke2 = vm.template ? rke2Of(vm.tags) : undefined;
    return rke2 === undefined || vm.name === undefined ? [] : [{ ...vm, name: vm.name, rke2 }];
  });
  const templates = await Promise.all(
    images.map(async ({ vmid, host, name, rke2, pool }): Promise<SurveyedTemplate[]> => {
      const path = `/nodes/${host}/qemu/${vmid}/config`;
      const options = await pve.get(path).catch(unlessSilent);
      if (options === undefined) return [];
      const read = new Row(options, path).texts();
      const disk = read.get("scsi0") ?? "";
      const size = sizeGiB(propertiesOf(disk).get("size") ?? "");
      const diskGiB = size === undefined ? undefined : Math.ceil(size);
      const bridge = hardwareOf(read).networks?.[0]?.bridge;
      return [{ name, rke2, host, pool, storage: /^([^:,]+):/.exec(disk)?.[1], diskGiB, bridge }];
    }),
  );
  const online = names.filter(({ isOnline }) => isOnline);
  const bridges = await Promise.all(
    online.map(async ({ name }) => [name, (await listBridges(pve, name).catch(unlessSilent)) ?? []] as const),
  );
  const pools = Row.list(await pve.get("/pools"), "/pools").map((row) => row.text("poolid"));
  return {
    hosts: online.map(({ name }) => name).toSorted(),
    silent: names.filter(({ isOnline }) => !isOnline).map(({ name }) => name),
    templates: templates.flat(),
    bridges: new Map(bridges),
    pools,
    vmids: list.map(({ vmid }) => vmid),
  };
}

function unlessSilent(error: unknown): undefined {
  if (silentHostOf(error) === undefined) throw error;
  return undefined;
}
