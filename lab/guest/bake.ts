/** A virtual machine that has booted from a distribution's cloud image: it does what the CD of a bake tells it. */
import { createHash } from "node:crypto";
import { messageOf } from "../../src/runtime/errors.ts";
import type { Guest } from "../types.ts";
import type { Exit } from "./agent-exec.ts";
import { beginInstance, hasAgent, startSystem } from "./base-image.ts";
import { CommandFailed } from "./cluster-reset.ts";
import { PoweredGuest } from "./powered.ts";
import { contentOf, readSeed, SeedRefused, type Seed } from "./seed.ts";
import { runProgram } from "./shell.ts";
import { bakeDirectory } from "./stage.ts";
import { playStages, type PlayedRun } from "./stages-run.ts";

const noop = () => undefined;

/** What its kernel, cloud-init and the bake say on the serial console. */
const consoleFile = "/run/console";

export class BakeGuest extends PoweredGuest implements Guest {
  private readonly since = performance.now();
  private readonly quit = Promise.withResolvers<undefined>();
  private isDead = false;
  private seed: Seed | undefined;
  readonly ended = this.quit.promise;

  get agentUp(): boolean {
    const { machine, rack, files } = this.context;
    const isAway = !machine.image.agent || rack.bakeFaults.some(({ fault }) => fault === "no-agent");
    return this.booted && !this.power.over && !this.isDead && !isAway && hasAgent(files);
  }

  interfaces(): ReturnType<Guest["interfaces"]> {
    const address = addressIn(this.seed) ?? this.context.address;
    const addresses = this.hasNetwork ? [{ address, prefix: 24, family: "ipv4" as const }] : [];
    return [{ name: "eth0", mac: "", addresses }];
  }

  exec(command: readonly string[], input: Buffer | undefined): number {
    this.needAgent();
    return this.processes.start(this.start(command, String(input ?? "")));
  }

  async run(command: string): Promise<string> {
    const { code, out = "", err = "" } = await this.start(["sh", "-c", command], "");
    if (code !== 0) throw new CommandFailed(err || `exit code ${code}`);
    return out.trim();
  }

  async shutdown(): Promise<void> {
    await this.awaitBoot();
    if (this.isDead) return new Promise(noop);
    await this.halt();
  }

  protected startDisk(): void {
    startSystem(this.context.files, this.context.machine);
  }

  protected async begin(): Promise<void> {
    const { cd } = this.context.machine;
    if (cd === undefined) this.say("cloud-init: no data source");
    else await this.obeySeed(cd);
  }

  /** cloud-init with the CD: a CD that it does not take changes nothing in the guest. */
  private async obeySeed(cd: Buffer): Promise<void> {
    const { files, machine } = this.context;
    try {
      this.seed = readSeed(cd);
      const { userData, metaData } = this.seed;
      const written = (userData.write_files ?? []).map((file) => [file.path, contentOf(file)] as const);
      const digest = createHash("sha256").update(cd).digest("hex");
      if (!beginInstance(files, metaData.instanceId, metaData.hostname ?? machine.name, digest)) {
        this.say(`cloud-init: the instance ${metaData.instanceId} is known`);
        return;
      }
      for (const command of listOf(userData.bootcmd)) await this.obey(command);
      for (const [path, content] of written) files.put(path, content);
      for (const command of listOf(userData.runcmd)) await this.obey(command);
      if (this.turnsOff(userData)) void this.end("power-cut");
    } catch (error) {
      if (!(error instanceof SeedRefused)) throw error;
      this.say(`cloud-init: ${error.message}`);
    }
  }

  /** Last of all cloud-init turns the power off, if it was told to and the condition holds: the lab knows one. */
  private turnsOff({ power_state: state }: Seed["userData"]): boolean {
    if (state?.mode !== "poweroff") return false;
    if (state.condition !== "test ! -x /usr/sbin/qemu-ga")
      throw new SeedRefused(`power_state has the condition ${JSON.stringify(state.condition)}`);
    return !hasAgent(this.context.files);
  }

  private async obey(command: unknown): Promise<void> {
    const words = Array.isArray(command) ? command.map(String) : ["sh", "-c", String(command)];
    const { code, err = "" } = await this.start(words, "").catch((error: unknown): Exit => ({
      code: 127,
      err: messageOf(error),
    }));
    if (code !== 0) this.say(`cloud-init: ${words.join(" ")}: exit code ${code} ${err.trim()}`);
  }

  private start(command: readonly string[], input: string): Promise<Exit> {
    const { files, machine } = this.context;
    const host = { files, kernel: machine.image.kernel };
    return runProgram(host, command, input, (path, [kind = ""]) =>
      path === `${bakeDirectory}/run.sh` && files.get(path) ? playStages(this.played(), kind) : undefined,
    );
  }

  private played(): PlayedRun {
    const { files, rack } = this.context;
    return {
      ...{ files, hasNetwork: this.hasNetwork, profile: rack.profile },
      web: (url) => rack.web(url),
      uptime: () => (performance.now() - this.since) / 1000,
      wait: (milliseconds) => this.power.wait(milliseconds),
      faultIn: (stage) =>
        rack.bakeFaults.find((one) => "stage" in one && one.stage === stage) as ReturnType<PlayedRun["faultIn"]>,
      end: (how) => this.end(how),
    };
  }

  private end(how: "dies" | "power-cut"): Promise<never> {
    if (how === "dies") {
      this.isDead = true;
      this.say("Kernel panic - not syncing: Fatal exception");
    } else void this.powerOff().then(() => this.quit.resolve(undefined));
    return new Promise<never>(noop);
  }

  /** The seed configures the card by its address; without a network in it the guest asks for an address. */
  private get hasNetwork(): boolean {
    const { mac } = this.context.machine;
    const cards = (this.seed?.network?.config ?? []) as { mac_address?: string }[];
    return cards.length === 0 || mac === undefined || cards.some((card) => card.mac_address === mac.toLowerCase());
  }

  private say(line: string): void {
    const { files } = this.context;
    files.put(consoleFile, `${files.text(consoleFile)}${line}\n`);
  }
}

const listOf = (commands: unknown): unknown[] => (Array.isArray(commands) ? commands : []);

/** The fixed address of a seed; undefined: it has none. */
function addressIn(seed: Seed | undefined): string | undefined {
  const [card] = (seed?.network?.config ?? []) as { subnets?: { address?: string }[] }[];
  return card?.subnets?.[0]?.address?.split("/")[0];
}
