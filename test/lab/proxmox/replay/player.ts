import type { Bench, Reply } from "../bench.ts";
import { seeVm } from "../../../../lab/proxmox/status.ts";
import { digestOf } from "../../../../lab/proxmox/config/store.ts";
import { findRoute } from "../../../../lab/proxmox/routes.ts";
import { differences, shapeOf } from "./fixture.ts";
import type { Exchange, Param, Shape } from "./fixture.ts";

/** What happened around the recorded requests: done to the emulator before an exchange. */
export type Hooks = Record<string, (bench: Bench) => unknown>;

export interface Outcome {
  id: string;
  /** Empty: as recorded. */
  deviations: string[];
  emulated: boolean;
}

function value(param: Param): string | string[] {
  if (Array.isArray(param)) return param;
  return typeof param === "object" && "repeat" in param ? param.repeat.repeat(param.times) : String(param);
}

/** Sends recorded requests and compares the answers. */
export class Player {
  private readonly bench: Bench;
  private readonly hooks: Hooks;
  /** Exchanges whose task goes on while the recording does. */
  private readonly longTasks: ReadonlySet<string>;
  private readonly upids = new Map<string, string>();

  constructor(bench: Bench, hooks: Hooks, longTasks: ReadonlySet<string>) {
    this.bench = bench;
    this.hooks = hooks;
    this.longTasks = longTasks;
  }

  async play(exchange: Exchange): Promise<Outcome> {
    await this.hooks[exchange.id]?.(this.bench);
    const path = exchange.path.replace(/\{task ([^}]+)\}/, (_, id: string) => this.upids.get(id) ?? id);
    const emulated = findRoute(exchange.method, decodeURIComponent(path).replace(/\/$/, "")) !== undefined;
    this.settleGuest(exchange);
    this.settleStatistics(exchange);
    const reply = await this.send(exchange, path);
    const deviations = this.compare(exchange, reply);
    if (!emulated && deviations.length > 0) {
      const right =
        reply.status === 501 &&
        reply.reason === `Method '${exchange.method} /${decodeURIComponent(path)}' not implemented`;
      return { id: exchange.id, emulated, deviations: right ? [] : [`${reply.status} ${reply.reason} instead of 501`] };
    }
    const task =
      typeof reply.body?.data === "string" && reply.body.data.startsWith("UPID:") ? reply.body.data : undefined;
    if (task !== undefined) this.upids.set(exchange.id, task);
    if (exchange.task !== undefined) deviations.push(...(await this.compareTask(exchange, task)));
    return { id: exchange.id, emulated, deviations };
  }

  private send(exchange: Exchange, path: string): Promise<Reply> {
    const { method, upload } = exchange;
    const credential = this.credential(exchange);
    if (!upload) return this.bench.call(method, path, this.params(exchange), credential);
    const fields = Object.entries(this.params(exchange)).map(([name, text]): [string, string] => [name, String(text)]);
    const content = Buffer.alloc(upload.bytes, "a");
    if (upload.qcow2) content.write("QFI\xfb", "latin1");
    return this.bench.upload(path, Object.fromEntries(fields), { ...upload, content }, credential);
  }

  /** Exit statuses of the tasks that went on. */
  async finish(exchanges: readonly Exchange[]): Promise<Outcome[]> {
    const outcomes: Outcome[] = [];
    for (const exchange of exchanges.filter(({ id }) => this.longTasks.has(id))) {
      const deviations = await this.taskDeviations(exchange, this.upids.get(exchange.id));
      outcomes.push({ id: exchange.id, emulated: true, deviations });
    }
    return outcomes;
  }

  private credential(exchange: Exchange): string {
    if (exchange.as === "None") return "";
    const id = exchange.as ?? "root@pam!lab";
    return this.bench.dc.tokens.has(id) ? id : `${id}=00000000-0000-0000-0000-000000000000`;
  }

  private params(exchange: Exchange): Record<string, string | string[]> {
    const vm = this.bench.dc.vms.get(Number(/qemu\/(\d+)/.exec(exchange.path)?.[1]));
    return Object.fromEntries(
      Object.entries(exchange.params ?? {}).map(([key, param]) => {
        if (param === "{digest}") return [key, vm ? digestOf(vm) : ""];
        return [key, value(param)];
      }),
    );
  }

  /** The guest is what it was when this was recorded: answering, or not yet. */
  private settleGuest(exchange: Exchange): void {
    const [, vmid, what] = /qemu\/(\d+)\/(agent|status\/shutdown|status\/reboot)/.exec(exchange.path) ?? [];
    const guest = this.bench.host.guests.get(Number(vmid));
    if (!guest || what === undefined) return;
    if (what === "agent") guest.agentUp = exchange.reason !== "QEMU guest agent is not running";
    else {
      const log = exchange.log ?? [];
      guest.deaf = exchange.task !== "OK" || log.some((line) => line.includes("SIGTERM"));
      guest.agentUp = !log.some((line) => line.startsWith("QEMU Guest Agent is not running"));
    }
  }

  /** The statistics daemon had seen the VMs that the recording shows it had. */
  private settleStatistics(exchange: Exchange): void {
    if (!exchange.path.startsWith("cluster/resources") && !exchange.path.startsWith("pools")) return;
    for (const [id, row] of rowsIn(exchange.body)) {
      const vm = this.bench.dc.vms.get(Number(/^qemu\/(\d+)$/.exec(id)?.[1]));
      if (vm) vm.seen = typeof row === "object" && "maxmem" in row ? seeVm(this.bench.dc, vm) : undefined;
    }
  }

  private compare(exchange: Exchange, reply: Reply): string[] {
    const found: string[] = [];
    if (reply.status !== exchange.status) found.push(`status ${reply.status} instead of ${exchange.status}`);
    if (reply.reason !== exchange.reason) found.push(`reason '${reply.reason}' instead of '${exchange.reason}'`);
    if (exchange.bodyless) return reply.text === "" ? found : [...found, "a body where there is none"];
    if (found.length > 0) return found;
    if (exchange.status === 200) {
      return exchange.body === undefined
        ? []
        : differences(exchange.body, shapeOf(reply.body), exchange.partial ?? false);
    }
    return [...found, ...failureBody(exchange, reply)];
  }

  private async compareTask(exchange: Exchange, upid: string | undefined): Promise<string[]> {
    return this.longTasks.has(exchange.id) ? [] : this.taskDeviations(exchange, upid);
  }

  private async taskDeviations(exchange: Exchange, upid: string | undefined): Promise<string[]> {
    if (upid === undefined) return ["no task"];
    const exit = await this.bench.ended(upid);
    if (exit !== exchange.task) return [`task ended '${exit}' instead of '${exchange.task ?? ""}'`];
    const ours = this.bench.log(upid);
    const lacking = (exchange.log ?? [])
      .map((line) => line.replace(/\{task ([^}]+)\}/, (_, id: string) => this.upids.get(id) ?? id))
      .filter((line) => !ours.includes(line));
    return lacking.map((line) => `task log lacks '${line}'`);
  }
}

function rowsIn(body: Shape | undefined): [string, Shape][] {
  if (typeof body !== "object") return [];
  const rows = Array.isArray(body) ? Object.entries(body[0]) : Object.entries(body);
  return rows.flatMap(([id, inner]): [string, Shape][] => [[id, inner], ...rowsIn(inner)]);
}

function failureBody(exchange: Exchange, reply: Reply): string[] {
  const text = exchange.status === 501 ? exchange.reason : `${exchange.reason}\n`;
  const found: string[] = [];
  if (reply.body?.data !== null) found.push("data is not null");
  if (reply.body?.message !== text) found.push(`message '${reply.body?.message ?? ""}'`);
  const [theirs, ours] = [JSON.stringify(exchange.errors ?? {}), JSON.stringify(reply.body?.errors ?? {})];
  if (theirs !== ours) found.push(`errors ${ours} instead of ${theirs}`);
  return found;
}
