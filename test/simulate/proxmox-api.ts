import { splitTags } from "../../src/clients/proxmox/tags.ts";
import type { DataCentre, Task, Vm } from "./data-centre.ts";
import type { Answer, Call } from "./wire.ts";

/** Proxmox pools that the token may see. */
export const sight = ["nodes", "templates"];

interface Request {
  call: Call;
  form: URLSearchParams;
  vm: Vm;
}

/** The Proxmox VE API as far as steps and program use it, with its original messages. */
export class ProxmoxApi {
  private readonly dc: DataCentre;

  constructor(dc: DataCentre) {
    this.dc = dc;
  }

  /** A write of a configuration waits for the task that holds its lock. */
  waits({ method, path }: Call): number {
    const vmid = method === "PUT" ? /\/qemu\/(\d+)\/config$/.exec(path)?.[1] : undefined;
    return vmid === undefined ? 0 : this.dc.lockedFor(Number(vmid));
  }

  answer(call: Call): Answer {
    const { path, query } = call;
    if (path === "/cluster/resources") return data(this.visible().map((vm) => listed(vm, this.dc)));
    if (path === "/cluster/nextid") return this.nextId(Number(query.get("vmid")));
    if (path === "/access/permissions") return data({ [query.get("path") ?? ""]: { "VM.Audit": 1 } });
    const [, host = "", rest = ""] = /^\/nodes\/([^/]+)\/(.*)$/.exec(path) ?? [];
    if (this.dc.silent.has(host)) return refuse(595, "No route to host");
    if (rest === "qemu")
      return data(
        this.visible()
          .filter((vm) => vm.host === host)
          .map(fresh),
      );
    if (/^storage\/[^/]+\/status$/.test(rest)) return data(storage);
    if (rest === "network") return data([{ iface: "vmbr0", type: "bridge" }]);
    if (rest === "tasks") return data(this.tasksOn(host, query.get("typefilter")));
    if (rest.startsWith("tasks/")) return this.task(rest);
    const [, vmid, verb = ""] = /^qemu\/(\d+)\/?(.*)$/.exec(rest) ?? [];
    const vm = this.dc.vms.get(Number(vmid));
    if (vmid === undefined) return refuse(501, `Method '${call.method} ${path}' not implemented`);
    if (vm?.host !== host)
      return refuse(500, `Configuration file 'nodes/${host}/qemu-server/${vmid}.conf' does not exist`);
    if (!sight.includes(vm.pool ?? "")) return refuse(403, `Permission check failed (/vms/${vmid}, VM.Audit)`);
    const form = new URLSearchParams(call.method === "GET" || call.method === "DELETE" ? query : call.body);
    return this.ofVm(`${call.method} ${verb}`, { call, form, vm });
  }

  private ofVm(what: string, { call, form, vm }: Request): Answer {
    const { dc } = this;
    if (!dc.quorate && isWrite(what)) return refuse(500, "cluster not ready - no quorum?");
    if (vm.lock !== undefined && what === "PUT config") return refuse(500, `VM is locked (${vm.lock})`);
    // A refused write changes nothing, so the watcher does not hear of it.
    if (what === "PUT config" && isOutdated(vm, form))
      return refuse(500, "detected modified configuration - file changed by other user? Try again.");
    if (!what.startsWith("GET") && what !== "POST agent/ping") dc.watcher.vmTouched(vm, what, form, call.process);
    switch (what) {
      case "GET config":
        vm.readAt = dc.time.elapsed();
        return data(configOf(vm));
      case "PUT config":
        return configure(vm, form);
      case "GET status/current":
        return data(current(vm, dc.time.elapsed()));
      case "POST status/start":
        return data(dc.start(vm));
      case "POST status/shutdown":
        return data(dc.shutdown(vm, Number(form.get("timeout") ?? 60), form.get("forceStop") === "1", call.process));
      case "POST status/stop":
        return data(dc.stop(vm, call.process));
      case "DELETE ":
        return vm.running ? refuse(500, `VM ${vm.vmid} is running - destroy failed`) : data(dc.destroy(vm));
      default:
        return dc.agentsRefuse ? refuse(dc.agentsRefuse.status, dc.agentsRefuse.reason) : agent(what, vm, form);
    }
  }

  /** Running tasks of a host, as `source=active` lists them. */
  private tasksOn(host: string, type: string | null): object[] {
    const here = [...this.dc.tasks.values()].filter(({ upid }) => upid.split(":")[1] === host);
    return here.filter((task) => task.exit === undefined && (type === null || task.type === type)).map(taskRow);
  }

  private task(rest: string): Answer {
    const [, upid = "", what = ""] = rest.split("/");
    const task = this.dc.tasks.get(upid);
    if (task === undefined) return refuse(400, "Parameter verification failed.", { upid: "no such task" });
    if (what === "log") return data([{ n: 1, t: `TASK ${task.exit ?? "runs"}` }]);
    return data({
      status: task.exit === undefined ? "running" : "stopped",
      ...(task.exit === undefined ? {} : { exitstatus: task.exit }),
    });
  }

  private nextId(vmid: number): Answer {
    if (!this.dc.vms.has(vmid)) return data(String(vmid));
    return refuse(400, "Parameter verification failed.", { vmid: `VM ${vmid} already exists` });
  }

  private visible(): Vm[] {
    return [...this.dc.vms.values()].filter(({ pool }) => sight.includes(pool ?? ""));
  }
}

/** A storage that all hosts share and that never fills. */
const storage = { active: 1, enabled: 1, shared: 1, total: 2 ** 50, used: 0, avail: 2 ** 50 };

function agent(what: string, vm: Vm, form: URLSearchParams): Answer {
  if (!vm.running) return refuse(500, `VM ${vm.vmid} is not running`);
  if (!vm.guest?.agentUp) return refuse(500, "QEMU guest agent is not running");
  if (vm.guest.frozen && what.includes("agent/file-"))
    return refuse(500, "Agent error: Command guest-file-open has been disabled: the agent is in frozen state");
  const file = form.get("file") ?? "";
  switch (what) {
    case "POST agent/ping":
      return data({ result: {} });
    case "GET agent/file-read": {
      const content = vm.guest.read(file);
      if (content === undefined)
        return refuse(500, `Agent error: Failed to open file '${file}': No such file or directory`);
      return data({ content, "bytes-read": content.length });
    }
    case "POST agent/file-write":
      vm.guest.write(file, Buffer.from(form.get("content") ?? "", "base64").toString());
      return data(null);
    default:
      return refuse(501, `Method '${what}' not implemented`);
  }
}

/** Whether a write was meant for another configuration: that of another VM, or an older configuration of this VM. */
function isOutdated(vm: Vm, form: URLSearchParams): boolean {
  const digest = form.get("digest");
  return digest !== null && digest !== digestOf(vm);
}

function configure(vm: Vm, form: URLSearchParams): Answer {
  const onBoot = form.get("onboot");
  if (onBoot !== null) vm.onBoot = onBoot === "1";
  const tags = form.get("tags");
  if (tags !== null) vm.tags = splitTags(tags).toSorted();
  if (form.get("delete") === "tags") vm.tags = [];
  const notes = form.get("description");
  if (notes !== null) vm.notes = notes;
  if (form.get("delete") === "description") vm.notes = "";
  vm.revision += 1;
  return data(null);
}

const digestOf = (vm: Vm): string => `${vm.uuid}-${vm.revision}`;

function configOf(vm: Vm): object {
  return {
    name: vm.name,
    smbios1: `uuid=${vm.uuid}`,
    tags: vm.tags.join(";"),
    digest: digestOf(vm),
    ...(vm.template ? { template: 1, scsi0: "local:base-disk-0,size=10G" } : {}),
    ...(vm.onBoot ? { onboot: 1 } : {}),
    ...(vm.lock === undefined ? {} : { lock: vm.lock }),
    ...Object.fromEntries(vm.attached),
    ...(vm.notes === "" ? {} : { description: `${vm.notes}\n` }),
  };
}

/** A row of the data centre's list: name, power and template as last polled, tags and pool as they are now. */
function listed(vm: Vm, { silent, withoutStatistics }: DataCentre): object {
  const seen = withoutStatistics.has(vm.host) ? undefined : vm.seen;
  return {
    vmid: vm.vmid,
    node: vm.host,
    type: "qemu",
    status: seen === undefined || silent.has(vm.host) ? "unknown" : (vm.word ?? (seen.running ? "running" : "stopped")),
    ...(seen === undefined ? {} : { name: seen.name, template: seen.template ? 1 : 0 }),
    tags: vm.tags.join(";"),
    pool: vm.pool,
    ...(vm.lock === undefined ? {} : { lock: vm.lock }),
  };
}

/** A VM that is off and in a backup also has a QEMU process: the list of its host calls it running. */
function fresh(vm: Vm): object {
  const hasProcess = vm.running || vm.word !== undefined;
  return { vmid: vm.vmid, name: vm.name, status: hasProcess ? "running" : "stopped" };
}

function current(vm: Vm, now: number): object {
  const qmpstatus = vm.word ?? (vm.running ? "running" : "stopped");
  const lock = vm.lock === undefined ? {} : { lock: vm.lock };
  const uptime = vm.running ? Math.floor(Math.min(now - vm.runsSince, 1e9) / 1000) : 0;
  const ha = { managed: vm.ha === false ? 0 : 1, ...(vm.ha === "error" ? { state: "error" } : {}) };
  return { ...fresh(vm), qmpstatus, uptime, ha, ...lock };
}

/** Whether it changes the configuration of the data centre; a guest agent needs no quorum. */
function isWrite(what: string): boolean {
  return !what.startsWith("GET") && !what.startsWith("POST agent/");
}

function taskRow({ upid, type, vmid, exit }: Task): object {
  return { upid, type, id: String(vmid), ...(exit === undefined ? {} : { endtime: 1, status: exit }) };
}

function data(value: unknown): Answer {
  return { status: 200, reason: "OK", body: JSON.stringify({ data: value }) };
}

function refuse(status: number, reason: string, errors?: Record<string, string>): Answer {
  return { status, reason, body: JSON.stringify({ data: null, errors }) };
}
