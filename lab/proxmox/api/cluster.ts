/** Endpoints of the cluster: version, nodes, resources, the next free VMID. */
import { died, invalid } from "../answer.ts";
import { anyone, perm } from "../call.ts";
import type { Call, Route } from "../call.ts";
import type { PveNode } from "../model.ts";
import { spec, vmidSpec } from "../params.ts";
import { mayAny } from "../permissions.ts";
import { resourceRow } from "../status.ts";
import { usedBytes } from "../storages.ts";

function version({ dc }: Call) {
  const real =
    dc.version === "8.4"
      ? { release: "8.4", version: "8.4.21", repoid: "2606ac8572606ac8" }
      : { release: "9.2", version: "9.2.0", repoid: "14a22df314a22df3" };
  return { ...real, ...(dc.lab !== undefined && { "evergreen-lab": dc.lab }) };
}

function nodeRow(node: PveNode, all: boolean) {
  return {
    node: node.name,
    id: `node/${node.name}`,
    type: "node",
    status: node.reachable ? "online" : "offline",
    level: "",
    ...(all && {
      cpu: 0.05,
      maxcpu: 16,
      mem: 8 * 1024 ** 3,
      maxmem: 128 * 1024 ** 3,
      disk: 0,
      maxdisk: 1024 ** 4,
      uptime: 86_400,
    }),
  };
}

function nodeList({ dc, token }: Call) {
  return [...dc.nodes.values()].map((node) => nodeRow(node, mayAny(dc, token, `/nodes/${node.name}`, ["Sys.Audit"])));
}

function nodes(call: Call) {
  const fingerprint = Array.from({ length: 32 }, () => "00").join(":");
  return nodeList(call).map((row) => ({ ...row, ssl_fingerprint: fingerprint }));
}

function nodeRows(call: Call) {
  return nodeList(call).map((row) => ({ ...row, "cgroup-mode": 2 }));
}

function vmRows({ dc, token }: Call) {
  return [...dc.vms.values()]
    .sort((a, b) => a.vmid - b.vmid)
    .filter((vm) => mayAny(dc, token, `/vms/${vm.vmid}`, ["VM.Audit"]))
    .map((vm) => {
      const pool = dc.poolOf(vm.vmid);
      const visible = pool !== undefined && mayAny(dc, token, `/pool/${pool.id}`, ["Pool.Audit"]);
      return resourceRow(dc, vm, visible ? pool : undefined);
    });
}

function storageRows({ dc, token }: Call) {
  return [...dc.storages.values()]
    .filter((storage) => mayAny(dc, token, `/storage/${storage.id}`, ["Datastore.Audit"]))
    .flatMap((storage) =>
      [...dc.nodes.keys()].map((node) => ({
        id: `storage/${node}/${storage.id}`,
        type: "storage",
        storage: storage.id,
        node,
        status: "available",
        shared: storage.shared ? 1 : 0,
        content: storage.content.join(","),
        plugintype: storage.type,
        disk: usedBytes(storage),
        maxdisk: storage.total,
      })),
    );
}

function resources(call: Call) {
  const { dc, token, params } = call;
  const type = params.get("type");
  const wants = (kind: string) => type === undefined || type === kind;
  const pools = [...dc.pools.values()].filter((pool) => mayAny(dc, token, `/pool/${pool.id}`, ["Pool.Audit"]));
  return [
    ...(type === undefined ? pools.map((pool) => ({ id: `/pool/${pool.id}`, type: "pool", pool: pool.id })) : []),
    ...(wants("vm") ? vmRows(call) : []),
    ...(wants("node") ? nodeRows(call) : []),
    ...(wants("storage") ? storageRows(call) : []),
  ];
}

function nextId({ dc, params }: Call): string {
  if (params.has("vmid")) {
    const vmid = params.int("vmid");
    if (dc.vms.has(vmid)) throw invalid({ vmid: `VM ${vmid} already exists` });
    return String(vmid);
  }
  for (let vmid = 100; vmid < 1_000_000; vmid += 1) if (!dc.vms.has(vmid)) return String(vmid);
  throw died("unable to get any free VMID in range [100, 1000000]");
}

function clock() {
  const now = Math.floor(Date.now() / 1000);
  return { timezone: "Etc/UTC", localtime: now, time: now };
}

/** Bridges show for those who may use them, or a VLAN of theirs. */
function networks({ dc, token, params }: Call) {
  const node = dc.nodes.get(params.text("node"));
  const maySee = (bridge: string) =>
    [bridge, ...dc.grants.flatMap(({ path }) => new RegExp(`/(${bridge}/[0-9]+)$`).exec(path)?.[1] ?? [])].some(
      (name) => mayAny(dc, token, `/sdn/zones/localnetwork/${name}`, ["SDN.Audit", "SDN.Use"]),
    );
  const vnets = [...dc.vnets]
    .filter(([name, zone]) => mayAny(dc, token, `/sdn/zones/${zone}/${name}`, ["SDN.Audit", "SDN.Use"]))
    .map(([iface]) => ({ iface, type: "vnet", active: "1", ipam: 0, vlanaware: 0 }));
  const bridges = (node?.bridges ?? []).filter(maySee).map((iface, index) => {
    const { cidr, gateway } = (index === 0 ? node?.network : undefined) ?? {};
    const [address, netmask] = cidr?.split("/") ?? [];
    return {
      iface,
      type: "bridge",
      active: 1,
      autostart: 1,
      priority: 3 + index,
      method: cidr === undefined ? "manual" : "static",
      method6: "manual",
      families: ["inet"],
      bridge_ports: "",
      bridge_stp: "off",
      bridge_fd: "0",
      ...(cidr === undefined ? {} : { cidr, address, netmask, gateway }),
    };
  });
  return [...bridges, ...vnets];
}

/** Mappings show for those who may use them (PVE/API2/Cluster/Mapping/PCI.pm). */
function mappings(kind: "pci" | "usb") {
  return ({ dc, token }: Call) =>
    [...dc.mappings]
      .filter(([path]) => path.startsWith(`${kind}/`))
      .filter(([path]) => mayAny(dc, token, `/mapping/${path}`, ["Mapping.Modify", "Mapping.Use", "Mapping.Audit"]))
      .map(([path, hosts]) => ({
        id: path.slice(kind.length + 1),
        map: hosts.map((node) => `id=10de:1db6,node=${node},path=0000:01:00.0`),
      }));
}

/** The builtin models; custom ones show only with Sys.Audit on /nodes (PVE/API2/Qemu/CPU.pm). */
const cpuTypes = [
  ...["host", "max", "kvm64", "qemu64", "x86-64-v2", "x86-64-v2-AES", "x86-64-v3", "x86-64-v4"],
  ...["Haswell", "Broadwell", "Skylake-Server", "Icelake-Server", "EPYC", "EPYC-Rome", "EPYC-Milan"],
];

export const clusterRoutes: Route[] = [
  { method: "GET", path: "cluster/mapping/pci", allow: anyone, params: {}, run: mappings("pci") },
  { method: "GET", path: "cluster/mapping/usb", allow: anyone, params: {}, run: mappings("usb") },
  {
    method: "GET",
    path: "nodes/{node}/capabilities/qemu/cpu",
    allow: anyone,
    params: {},
    run: () => cpuTypes.map((name) => ({ name, custom: 0, vendor: "default" })),
  },
  { method: "GET", path: "version", allow: anyone, params: {}, run: version },
  { method: "GET", path: "nodes", allow: anyone, params: {}, run: nodes },
  { method: "GET", path: "nodes/{node}/version", allow: anyone, params: {}, run: version },
  { method: "GET", path: "nodes/{node}/time", allow: perm("/nodes/{node}", "Sys.Audit"), params: {}, run: clock },
  {
    method: "GET",
    path: "nodes/{node}/network",
    allow: anyone,
    params: { type: { ...spec.text, enum: ["bridge", "any_bridge", "any_local_bridge", "include_sdn"] } },
    run: networks,
  },
  { method: "GET", path: "cluster/nextid", allow: anyone, params: { vmid: vmidSpec }, run: nextId },
  {
    method: "GET",
    path: "cluster/resources",
    allow: anyone,
    params: { type: { ...spec.text, enum: ["vm", "storage", "node", "sdn"] } },
    run: resources,
  },
];
