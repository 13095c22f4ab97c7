import { UserErrors, type Problem } from "../runtime/errors.ts";
import type { Proxmox } from "../clients/proxmox/client.ts";
import { ProxmoxError } from "../clients/proxmox/errors.ts";
import { Row } from "../clients/proxmox/parse.ts";
import type { Device } from "../domain/model/hardware.ts";
import type { Clone } from "./templates.ts";

/**
 * Checks that the hosts of new VMs have what the configuration asks them for: an entry in each resource mapping, and each
 * CPU type by its name. Whether a processor can do what its type promises, Proxmox finds out when a VM is started.
 * @throws UserErrors that names what a host lacks
 */
export async function requireHostHardware(pve: Proxmox, clones: readonly Clone[]): Promise<void> {
  const wanted = clones.map(({ host, spec: { hardware = {} } }) => ({ host, ...hardware }));
  const problems = await Promise.all([
    findMappings(pve, "pci", wanted),
    findMappings(pve, "usb", wanted),
    findCpuTypes(pve, wanted),
  ]);
  if (problems.flat().length > 0) throw new UserErrors(problems.flat());
}

type Wanted = { host: string } & NonNullable<Clone["spec"]["hardware"]>;

async function findMappings(pve: Proxmox, kind: Device["kind"], all: readonly Wanted[]): Promise<Problem[]> {
  const wanted = all.flatMap(({ host, devices = [] }) =>
    devices.flatMap((device) => (device.kind === kind ? { host, name: device.mapping } : [])),
  );
  if (wanted.length === 0) return [];
  const path = `/cluster/mapping/${kind}`;
  const rows = Row.list(await pve.get(path), path);
  const hosts = new Map(
    rows.map((row) => [
      row.text("id"),
      new Set(row.strings("map").flatMap((entry) => /(?:^|,)node=([^,]+)/.exec(entry)?.[1] ?? [])),
    ]),
  );
  return different(wanted).flatMap(({ host, name }): Problem[] => {
    const where = `devices of new VMs, mapping ${name}`;
    const its = hosts.get(name);
    if (its === undefined)
      return [
        {
          what: `there is no resource mapping ${name} for ${kind.toUpperCase()} devices that the token may use`,
          where,
          todo: `correct the name (${[...hosts.keys()].join(", ") || "the token sees none"}), or make it under Datacenter, Resource Mappings`,
        },
      ];
    if (its.has(host)) return [];
    return [
      {
        what: `the resource mapping ${name} has no device on the Proxmox host ${host}: no VM with it starts there`,
        where: `${where}; it has ${[...its].join(", ") || "none"}`,
        todo: `add an entry for ${host}, or take ${host} out of the hosts of the pool`,
      },
    ];
  });
}

async function findCpuTypes(pve: Proxmox, all: readonly Wanted[]): Promise<Problem[]> {
  // Proxmox shows custom models only to who may audit its hosts.
  const wanted = all.flatMap(({ host, cpu: { type } = {} }) =>
    type === undefined || type.startsWith("custom-") ? [] : { host, name: type },
  );
  const byHost = Map.groupBy(different(wanted), ({ host }) => host);
  const found = await Promise.all(
    [...byHost].map(async ([host, here]): Promise<Problem[]> => {
      const types = await listCpuTypes(pve, host);
      if (types === undefined) return [];
      return here
        .filter(({ name }) => !types.has(name))
        .map(({ name }) => ({
          what: `the Proxmox host ${host} knows no CPU type ${name}: no VM can have it there`,
          where: "cpu.type of new VMs",
          todo: `use one of the host's types (pvesh get /nodes/${host}/capabilities/qemu/cpu); a custom model begins with custom-`,
        }));
    }),
  );
  return found.flat();
}

async function listCpuTypes(pve: Proxmox, host: string): Promise<Set<string> | undefined> {
  const path = `/nodes/${host}/capabilities/qemu/cpu`;
  try {
    return new Set(Row.list(await pve.get(path), path).map((row) => row.text("name")));
  } catch (error) {
    if (error instanceof ProxmoxError) return undefined;
    throw error;
  }
}

function different(wanted: readonly { host: string; name: string }[]): { host: string; name: string }[] {
  return [...Map.groupBy(wanted, ({ host, name }) => `${host} ${name}`).values()].flatMap(([first]) => first ?? []);
}
