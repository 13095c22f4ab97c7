import type { Chance } from "./chance.ts";
import type { Process } from "./process.ts";
import type { World } from "./world.ts";

export interface Kill {
  /** The request at which it happens, counted over all processes of the run (`plugin`: of the plugin), from 1. */
  request: number;
  /** `after`: the effect has happened, and the answer was not read. */
  side: "before" | "after";
  /**
   * `tree`: all processes die at once. `engine`: steps live until they see that their parent is gone. `step`: one
   * process dies. `plugin`: the provider dies with all that it does. `interrupt`: the user presses Ctrl-C.
   */
  what: "tree" | "engine" | "step" | "plugin" | "interrupt";
}

const eventOf = {
  tree: "kill of the tree",
  engine: "kill of the engine",
  step: "kill of a step",
  plugin: "kill of the plugin",
  interrupt: "interrupt",
} as const;

/** Ends processes of one run at a chosen request. */
export class Killer {
  /** The engine starts nothing more. */
  stopping = false;
  engineDead = false;
  readonly engineDied: Promise<void>;
  private die: () => void = () => undefined;
  private readonly processes: Process[] = [];
  private requests = 0;
  private done = false;

  constructor(world: World, chance: Chance, kill?: Kill) {
    this.engineDied = new Promise((resolve) => (this.die = resolve));
    world.onBoundary = (process, side) => {
      if (!this.processes.includes(process) || (kill?.what === "plugin" && !isOfPlugin(process))) return;
      if (side === "before") this.requests += 1;
      if (this.requests === kill?.request && side === kill.side && !this.done) this.end(world, chance, kill, process);
    };
  }

  started(process: Process): void {
    this.processes.push(process);
  }

  /** The machine goes down: engine, plugins and steps. */
  killAll(): void {
    this.done = true;
    this.stopping = true;
    for (const one of this.processes) if (!one.isDead()) one.kill();
    this.engineDead = true;
    this.die();
  }

  private end(world: World, chance: Chance, { what, request, side }: Kill, process: Process): void {
    world.story.tell("killer", () => `${what} is ended ${side} request ${request}, of ${process.name}`);
    world.coverage.event(eventOf[what]);
    world.time.wake();
    this.done = true;
    if (what === "step") {
      process.kill();
      return;
    }
    if (what === "plugin") {
      for (const one of this.processes) if (isOfPlugin(one) && !one.isDead()) one.kill();
      return;
    }
    this.stopping = true;
    for (const one of this.processes.filter((one) => !one.isDead())) {
      if (what === "interrupt") one.cancel("SIGINT was received");
      else if (what === "tree" || !isStep(one)) one.kill();
      else world.time.after(chance.between(0, 500), () => this.orphan(world, one));
    }
    if (what === "interrupt") return;
    this.engineDead = true;
    this.die();
  }

  private orphan(world: World, process: Process): void {
    world.time.wake();
    process.cancel("the engine that this step works for has ended");
  }
}

/** A plugin and the program die with their engine; a step has to poll for its parent. */
function isStep(process: Process): boolean {
  return !isOfPlugin(process) && process.name !== "program";
}

function isOfPlugin({ name }: Process): boolean {
  return /^(clone|destroy)-/.test(name);
}
