/** A guest under QEMU without KVM: its kernel is booted directly, its disk is one file system, its seed a CD. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createWriteStream, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { GuestAgent } from "./agent.ts";

export interface MachineOptions {
  /** For its sockets, its seed and its console. */
  folder: string;
  /** qcow2 */
  disk: string;
  base: { kernel: string; initrd: string };
  seed: Uint8Array;
  uuid: string;
  mac: string;
  /** The hour that its clock begins with, `2027-02-01T12:00:00`; today's by default. */
  clock?: string;
  /** Name of the state on the disk that it goes on from; it boots by default. */
  from?: string;
}

/** QEMU ended by itself, or the guest's kernel did. */
export class MachineDied extends Error {
  override readonly name = "MachineDied";
}

export class Machine {
  readonly agent: GuestAgent;
  readonly options: MachineOptions;
  private readonly ended: Promise<void>;
  private readonly qemu: ChildProcess;
  private errors = "";

  constructor(options: MachineOptions) {
    this.options = options;
    const { folder } = options;
    mkdirSync(folder, { recursive: true });
    for (const name of ["agent", "monitor"]) rmSync(join(folder, name), { force: true });
    writeFileSync(join(folder, "cidata.iso"), options.seed);
    this.agent = new GuestAgent(join(folder, "agent"));
    this.qemu = spawn("qemu-system-x86_64", argumentsOf(options), { stdio: ["ignore", "pipe", "pipe"] });
    const log = createWriteStream(join(folder, "console.log"), { flags: "a" });
    this.qemu.stdout?.on("data", (bytes: Buffer) => {
      log.write(bytes);
      // It would stay there for ever.
      if (bytes.includes("Kernel panic")) this.fail("its kernel panicked");
    });
    this.qemu.stderr?.on("data", (bytes: Buffer) => (this.errors += bytes.toString()));
    const killAtExit = () => void this.qemu.kill("SIGKILL");
    process.once("exit", killAtExit);
    this.ended = once(this.qemu, "exit").then(() => {
      process.off("exit", killAtExit);
      log.end();
    });
  }

  private fail(why: string): void {
    this.errors += why;
    this.qemu.kill("SIGKILL");
  }

  /** Waits until its agent answers. */
  async boot(seconds = 420): Promise<void> {
    const end = performance.now() + seconds * 1000;
    while (!(await this.agent.isThere())) {
      if (this.isOver) throw new MachineDied(`${this.options.folder}: QEMU ended: ${this.errors}`);
      if (performance.now() > end)
        throw new Error(`no agent after ${seconds} s: see ${this.options.folder}/console.log`);
      await delay(500);
    }
  }

  /** Waits until cloud-init has ended. @returns its verdict */
  async awaitCloudInit(seconds: number): Promise<string> {
    const { stdout } = await this.agent.run(["/usr/bin/cloud-init", "status", "--wait", "--format", "json"], {
      seconds,
    });
    return stdout;
  }

  async powerOff(seconds = 180): Promise<void> {
    await this.agent.shutdown("powerdown");
    const isOff = await Promise.race([this.ended.then(() => true), delay(seconds * 1000, false, { ref: false })]);
    if (!isOff) throw new Error(`${this.options.folder}: not off after ${seconds} s`);
  }

  /** Whether QEMU has ended, asked for or not. */
  get isOver(): boolean {
    return this.qemu.exitCode !== null || this.qemu.signalCode !== null;
  }

  async kill(): Promise<void> {
    this.qemu.kill("SIGKILL");
    await this.ended;
  }

  /** A command of QEMU's monitor, such as `savevm sealed`. @throws Error with its answer, which is empty when it works */
  async monitor(command: string): Promise<void> {
    const socket = connect(join(this.options.folder, "monitor"));
    const { promise, resolve, reject } = Promise.withResolvers<string>();
    socket.on("error", reject);
    const requests = [
      { execute: "qmp_capabilities" },
      { execute: "human-monitor-command", arguments: { "command-line": command } },
    ];
    let pending = "";
    socket.on("data", (bytes) => {
      pending += bytes.toString();
      for (let end = pending.indexOf("\n"); end >= 0; end = pending.indexOf("\n")) {
        const message = JSON.parse(pending.slice(0, end)) as {
          event?: unknown;
          return?: unknown;
          error?: { desc: string };
        };
        pending = pending.slice(end + 1);
        if (message.event !== undefined) continue;
        const request = requests.shift();
        if (request) socket.write(`${JSON.stringify(request)}\n`);
        else resolve(message.error ? message.error.desc : String(message.return));
      }
    });
    const answer = await promise.finally(() => socket.destroy());
    if (answer.trim() !== "") throw new Error(`${command}: ${answer}`);
  }
}

/** States are tried so often when QEMU's emulation dies of one: then the guest is the one to blame. */
const TRIES = 3;

/**
 * Does each of some works in a guest as this one is now. Each gets a QEMU of its own: one that loads states again and again
 * gets confused by what its translations remember (a guest's kernel panicked after a dozen).
 * @returns the results, and a guest to which nothing was done
 */
export async function doEach<T>(
  machine: Machine,
  works: readonly ((guest: Machine) => Promise<T>)[],
): Promise<{ results: T[]; machine: Machine }> {
  const from = "here";
  await machine.monitor(`savevm ${from}`);
  await machine.kill();
  const results: T[] = [];
  for (const work of works) results.push(await tryWork(work, { ...machine.options, from }));
  const next = new Machine({ ...machine.options, from });
  await next.boot();
  await next.monitor(`delvm ${from}`);
  return { results, machine: next };
}

async function tryWork<T>(work: (guest: Machine) => Promise<T>, options: MachineOptions): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    const guest = new Machine(options);
    try {
      await guest.boot();
      return await work(guest);
    } catch (error) {
      if (!guest.isOver || tries === TRIES) throw error;
      console.log(`QEMU ended, and is tried again: ${String(error)}`);
    } finally {
      await guest.kill();
    }
  }
}

function argumentsOf({ folder, disk, base, uuid, mac, clock, from }: MachineOptions): string[] {
  const socket = (name: string) => `path=${join(folder, name)},server=on,wait=off`;
  return [
    ...["-accel", "tcg,tb-size=256", "-M", "q35,usb=off,vmport=off", "-cpu", "Nehalem", "-smp", "1", "-m", "768"],
    ...["-uuid", uuid, "-nodefaults", "-no-user-config", "-display", "none", "-serial", "stdio", "-monitor", "none"],
    ...["-rtc", clock === undefined ? "base=utc" : `base=${clock},clock=vm`],
    ...["-qmp", `unix:${join(folder, "monitor")},server=on,wait=off`],
    ...(from === undefined ? [] : ["-loadvm", from]),
    ...["-kernel", base.kernel, "-initrd", base.initrd],
    ...["-append", "root=/dev/vda rw console=ttyS0 mitigations=off quiet loglevel=3"],
    ...["-drive", `file=${disk},if=none,id=d0,cache=unsafe,discard=unmap`, "-device", "virtio-blk-pci,drive=d0"],
    ...["-drive", `file=${join(folder, "cidata.iso")},if=none,id=c0,format=raw,readonly=on,media=cdrom`],
    ...["-device", "ide-cd,drive=c0,bus=ide.0"],
    ...["-netdev", "user,id=n0", "-device", `virtio-net-pci,netdev=n0,mac=${mac},romfile=`],
    ...["-device", "virtio-serial-pci", "-chardev", `socket,${socket("agent")},id=agent`],
    ...["-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0", "-device", "virtio-rng-pci"],
  ];
}
