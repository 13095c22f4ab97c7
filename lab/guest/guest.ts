/** A virtual machine from power on to power off. */
import { createHash } from "node:crypto";
import { readdirSync } from "node:fs";
import type { Guest } from "../types.ts";
import { messageOf } from "../../src/runtime/errors.ts";
import { say } from "../../src/runtime/log.ts";
import { beginInstance, hasAgent, hasJoinUnit, startSystem } from "./base-image.ts";
import { runAgent } from "./agent.ts";
import type { NodeStart } from "./agent.ts";
import { CommandFailed, resetCluster } from "./cluster-reset.ts";
import { runCommand } from "./console.ts";
import { paths, readOrder } from "./join.ts";
import type { Order } from "./join.ts";
import { moveData, snapshotDirectoryOf } from "./member.ts";
import { PoweredGuest } from "./powered.ts";
import { JoinFailure } from "./registration.ts";
import { usual } from "./registries.ts";
import { Scope } from "./scope.ts";
import { runServer } from "./server.ts";
import { runProgram } from "./shell.ts";
import { obeyYield } from "./yield.ts";

/** Milliseconds until the service manager starts RKE2 again. */
const restartAfter = 1000;

const noop = () => undefined;

/** A started service and its configuration. */
interface Service {
  scope: Scope;
  text: string;
  joined: boolean;
  /** Stopped by `systemctl stop`: the service manager does not start it again. */
  stopped: boolean;
}

export class RackGuest extends PoweredGuest implements Guest {
  private service: Service | undefined;
  /** Variables exported by the shell at its console. */
  private readonly exported = new Map<string, string>();
  /** Orders to the unit, which carries them out in sequence. */
  private orders: Promise<void> = Promise.resolve();
  /** How often it was told to restart RKE2 for other registries. */
  private reloads = 0;

  get agentUp(): boolean {
    const { files, machine } = this.context;
    const isThere = machine.image.base === undefined || hasAgent(files);
    return this.booted && !this.power.over && machine.image.agent && isThere;
  }

  private get hostname(): string {
    const { machine } = this.context;
    return machine.cloudInit.hostname || machine.name;
  }

  /** Name of its Node. */
  private get node(): string {
    const order = readOrder(this.context.files, this.hostname);
    return order.kind === "start" ? order.fragment.nodeName : this.hostname;
  }

  interfaces(): ReturnType<Guest["interfaces"]> {
    const { address, addresses6, machine } = this.context;
    const reached = addresses6.map((one) => ({ address: one, prefix: 64, family: "ipv6" as const }));
    const local = { address: `fe80::be24:11ff:fe00:${machine.vmid.toString(16)}`, prefix: 64, family: "ipv6" as const };
    return [{ name: "eth0", mac: "", addresses: [{ address, prefix: 24, family: "ipv4" }, ...reached, local] }];
  }

  override writeFile(path: string, content: Buffer): void {
    super.writeFile(path, content);
    if (path === paths.marker) this.obey();
    if (path === paths.reload && this.context.machine.image.units?.includes("registries"))
      this.orders = this.orders.then(() => this.reload());
    if (path === paths.yield) this.orders = this.orders.then(() => obeyYield(this.context));
  }

  exec(command: readonly string[], input: Buffer | undefined): number {
    this.needAgent();
    const { files, machine } = this.context;
    return this.processes.start(runProgram({ files, kernel: machine.image.kernel }, command, String(input ?? "")));
  }

  async shutdown(): Promise<void> {
    if (this.context.machine.image.fault === "never-boots") return new Promise(noop);
    await this.awaitBoot();
    await this.service?.scope.end();
    await this.halt();
  }

  async run(command: string): Promise<string> {
    return await runCommand(command, {
      stopUnit: () => this.stopUnit(),
      killAll: () => this.killAll(),
      startUnit: () => this.obey(),
      reset: (reset) => {
        if (this.service && !this.service.scope.over) throw new CommandFailed("listen tcp :9345: bind: address in use");
        return resetCluster(this.context, this.node, reset);
      },
      moveData: (name) => moveData(this.context, name),
      snapshots: () => readdirSync(snapshotDirectoryOf(this.context)),
      files: this.context.files,
      exported: this.exported,
    });
  }

  private stopUnit(): void {
    if (this.service) this.service.stopped = true;
  }

  private async killAll(): Promise<void> {
    const { service } = this;
    await service?.scope.end();
    // The service manager restarts a unit that was not stopped.
    if (service && !service.stopped) this.obey();
  }

  protected begin(): void {
    this.obey();
  }

  /** What systemd and cloud-init do on the disk of a baked image. */
  protected startDisk(): void {
    const { files, machine } = this.context;
    if (machine.image.base === undefined) return;
    startSystem(files, machine);
    beginInstance(files, machine.uuid, this.hostname, "");
  }

  /** What the path unit does at boot and when the marker is written. */
  private obey(): void {
    const { files, log, machine } = this.context;
    if (machine.image.base !== undefined && !hasJoinUnit(files)) return;
    const order = readOrder(files, this.hostname);
    if (order.kind === "refused") log.say("evergreen-join", order.why);
    if (order.kind === "wipe") this.orders = this.orders.then(() => this.wipe());
    if (order.kind === "start") this.orders = this.orders.then(() => this.start(order));
  }

  private async wipe(): Promise<void> {
    const { files, log, machine, rack } = this.context;
    const joined = this.service?.joined ?? false;
    await this.service?.scope.end();
    this.service = undefined;
    const credentials = [paths.kubeletCertificate, paths.kubeletKey, paths.serverCa];
    for (const path of [paths.fragment, paths.nodePassword, ...credentials]) files.remove(path);
    log.say("evergreen-join", "join data wiped, RKE2 stopped");
    if (joined) rack.report({ kind: "left", vmid: machine.vmid, name: machine.name });
  }

  /** What the unit for registries does: RKE2 restarts, and its containers go on. */
  private reload(): void {
    const { files, log, runtime } = this.context;
    const wish = files.text(paths.reload).trim();
    const content = files.get(paths.registries);
    if (!content || createHash("sha256").update(content).digest("hex") !== wish) {
      log.say("evergreen-registries", "registries.yaml does not have the hash that registries.reload names");
      return;
    }
    files.put(usual, content);
    this.reloads += 1;
    const { service } = this;
    if (service?.joined && !service.stopped) {
      runtime.isStopped = true;
      service.scope.run(() => this.startAgain(service, wish, this.reloads));
    } else files.put(paths.loaded, wish);
  }

  /** Starts RKE2 as the service manager does, again and again; the unit says of the third failure why, and of a start. */
  private async startAgain({ scope }: Service, wish: string, number: number): Promise<void> {
    const { files, log, runtime } = this.context;
    const order = readOrder(files, this.hostname);
    const path = order.kind === "start" ? order.fragment.privateRegistry : undefined;
    for (let failures = 1; ; failures += 1) {
      await scope.wait(restartAfter);
      // Another wish has come meanwhile.
      if (number !== this.reloads) return;
      try {
        runtime.restart(files, path);
        break;
      } catch (error) {
        const line = `level=fatal msg="${messageOf(error)}"`;
        log.say("rke2", line);
        if (failures === 3) files.put(paths.failed, `${wish}\n${line}\n`);
      }
    }
    files.put(paths.loaded, wish);
  }

  private async start(order: Order & { kind: "start" }): Promise<void> {
    const { files, log } = this.context;
    const { service: before } = this;
    if (before?.text === order.text && !before.scope.over && !before.stopped) return;
    files.put(paths.fragment, order.text);
    // A node that has joined reads its configuration at the next start.
    if (before?.joined && !before.stopped) return;
    await this.service?.scope.end();
    if (this.power.over) return;
    const scope = new Scope(this.power);
    const service: Service = { scope, text: order.text, joined: false, stopped: false };
    this.service = service;
    log.say("evergreen-join", `starting rke2-${order.role}`);
    scope.run(() => this.serve(order, service));
  }

  /** Runs RKE2 under its service manager, which starts it again whenever it exits. */
  private async serve(order: Order & { kind: "start" }, service: Service): Promise<void> {
    const guest = this.context;
    const registerAt = performance.now() + guest.rack.profile.register;
    const start: NodeStart = { guest, fragment: order.fragment, registerAt };
    while (!service.scope.over) {
      const attempt = new Scope(service.scope);
      try {
        guest.runtime.read(guest.files, order.fragment.privateRegistry);
        await (order.role === "server" ? runServer(start, attempt) : runAgent(start, attempt));
        service.joined = true;
        guest.rack.report({ kind: "joined", vmid: guest.machine.vmid, name: guest.machine.name });
        return;
      } catch (error) {
        if (attempt.over) return;
        await attempt.end();
        guest.log.say(`rke2-${order.role}`, `level=fatal msg="${messageOf(error)}"`);
        if (!(error instanceof JoinFailure)) say(`lab: ${guest.machine.name}: ${messageOf(error)}`);
        await service.scope.wait(restartAfter);
      }
    }
  }
}
