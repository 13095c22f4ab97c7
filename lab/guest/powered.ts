/** A virtual machine from power on to power off, and its guest agent, whatever its system does then. */
import { AgentError, type ExecStatus } from "../types.ts";
import { AgentProcesses } from "./agent-exec.ts";
import type { GuestContext } from "./context.ts";
import { Scope } from "./scope.ts";

const noop = () => undefined;

export abstract class PoweredGuest {
  protected readonly context: GuestContext;
  protected readonly power = new Scope();
  protected readonly processes = new AgentProcesses();
  protected booted = false;
  /** Resolves when the power is off. */
  readonly off: Promise<void>;

  constructor(context: GuestContext) {
    this.context = context;
    const { vmid, name } = context.machine;
    this.off = this.power.ended.then(() => context.rack.report({ kind: "off", vmid, name }));
    this.power.run(() => this.boot());
  }

  /** Whether the guest agent answers. */
  abstract get agentUp(): boolean;

  /** What comes up on the disk, right before the guest counts as booted. */
  protected abstract startDisk(): void;

  /** What the system does once it has booted. */
  protected abstract begin(): void | Promise<void>;

  readFile(path: string): Buffer {
    this.needAgent();
    return this.context.files.agentRead(path);
  }

  writeFile(path: string, content: Buffer): void {
    this.needAgent();
    this.context.files.agentWrite(path, content);
  }

  execStatus(pid: number): ExecStatus {
    this.needAgent();
    return this.processes.status(pid);
  }

  async powerOff(): Promise<void> {
    await this.power.end();
    await this.off;
  }

  /** A guest that boots does not hear of a shutdown before it has. */
  protected async awaitBoot(): Promise<void> {
    while (!this.booted && !this.power.over) await this.power.wait(10).catch(noop);
  }

  /** The system goes down, and turns the power off. */
  protected async halt(): Promise<void> {
    await this.power.wait(this.context.rack.profile.shutdown).catch(noop);
    await this.powerOff();
  }

  protected needAgent(): void {
    if (!this.agentUp) throw new AgentError("QEMU guest agent is not running");
  }

  private async boot(): Promise<void> {
    const { machine, rack } = this.context;
    await this.power.wait(rack.profile.boot);
    if (machine.image.fault === "never-boots") return;
    this.startDisk();
    this.booted = true;
    rack.report({ kind: "booted", vmid: machine.vmid, name: machine.name });
    await this.begin();
  }
}
