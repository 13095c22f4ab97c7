import { backupPolicy, stepSite, type Config } from "../../src/config/config.ts";
import { fleetPlans, type Fleet } from "../../src/program/fleet.ts";
import { hostOf, type Live } from "../../src/observe/live.ts";
import { order, type SlotOrder } from "../../src/domain/rollout/order.ts";
import { environmentOf } from "../../src/domain/model/step-environment.ts";
import type { KeptVm, PoolPlan, SlotPlan } from "../../src/domain/model/types.ts";
import { strandedIn } from "../../src/domain/rollout/unreachable.ts";
import type { MadeVm } from "./provider.ts";

export type Verb = "rollout" | "snapshot" | "claim" | "retain" | "join" | "gate" | "handover" | "verify";

/** A resource as the program declares it (components/node-pool.ts, components/slot.ts). */
export interface Declared {
  urn: string;
  /** URNs of what has to be done before. */
  after: string[];
  /** Declared as the state has it, so that nothing is done to what it has (components/kept.ts). */
  kept?: true;
  vm?: { made: MadeVm; image: string };
  step?: {
    verb: Verb;
    environment: Record<string, string>;
    /** URN of the step whose output is `EVERGREEN_ROLLOUT`. */
    rollout: string | undefined;
    /** URN of the VM whose number is `EVERGREEN_MADE_VMID`. */
    made?: string;
  };
}

/** What a run declares, in an order in which everything that a resource waits for comes before it. */
export function declare(config: Config, live: Live, fleet: Fleet): Declared[] {
  const servers = ofPool(config, live, fleet.controlPlane, []);
  return [
    ...servers,
    ...[...fleet.pools, ...fleet.removed.filter(({ slots }) => slots.length > 0)].flatMap((plan) =>
      ofPool(config, live, plan, [`${config.cluster}-${fleet.controlPlane.pool}-verify`]),
    ),
    ...fleetPlans(fleet).flatMap((plan) => plan.kept.flatMap((one) => kept(config, plan, one))),
  ];
}

function kept(config: Config, { pool, role, strategy }: PoolPlan, one: KeptVm): Declared[] {
  const { slot, name, vmid, generation: id, spec } = one;
  if (spec === undefined) throw new Error(`nobody remembers what ${name} is`);
  const planned = { slot, name, vmid, generation: { id, spec }, creates: false, replaces: [] };
  const environment = environmentOf({
    cluster: config.cluster,
    site: stepSite(config),
    pool,
    role,
    strategy,
    slot: planned,
  });
  return [
    { urn: name, after: [], kept: true },
    { urn: `${name}-claim`, after: [name], kept: true, step: { verb: "retain", environment, rollout: undefined } },
  ];
}

function ofPool(config: Config, live: Live, plan: PoolPlan, before: string[]): Declared[] {
  const pool = new PoolGraph(config, live, plan, before);
  return pool.declare();
}

class PoolGraph {
  private readonly config: Config;
  private readonly live: Live;
  private readonly plan: PoolPlan;
  private readonly before: string[];
  private readonly orders: SlotOrder[];

  constructor(config: Config, live: Live, plan: PoolPlan, before: string[]) {
    this.config = config;
    this.live = live;
    this.plan = plan;
    this.before = before;
    this.orders = order(plan);
  }

  declare(): Declared[] {
    const { plan, orders } = this;
    const rollout = this.poolStep("rollout", this.before, undefined);
    const snapshot = this.snapshot();
    const slots = orders.flatMap((one) => this.arrival(one, snapshot));
    const joins = orders.map(({ slot }) => this.join(slot));
    const blueGreen = plan.role === "agent" && plan.strategy.kind === "blueGreen";
    const gate = blueGreen ? [this.poolStep("gate", [this.urn("rollout"), ...joins])] : [];
    const handovers = orders.map((one) => this.handover(one, gate.length > 0));
    const verify = this.poolStep("verify", [...joins, ...handovers.map(({ urn }) => urn)]);
    return [rollout, ...snapshot, ...slots, ...gate, ...handovers, verify];
  }

  /** Stands before everything that a server does. */
  private snapshot(): Declared[] {
    const { config, plan } = this;
    if (plan.role !== "server") return [];
    const environment = environmentOf({
      cluster: config.cluster,
      site: stepSite(config),
      plan,
      backup: backupPolicy(config),
    });
    const rollout = this.urn("rollout");
    return [{ urn: this.urn("snapshot"), after: [rollout], step: { verb: "snapshot", environment, rollout } }];
  }

  private arrival({ slot, clone, vm, join }: SlotOrder, begun: readonly Declared[]): Declared[] {
    const planned = this.slot(slot);
    const before = [
      ...this.before,
      this.urn("rollout"),
      ...begun.map(({ urn }) => urn),
      ...vm.map((one) => this.urn(`${one}-handover`)),
      ...clone.map((one) => this.slot(one).name),
    ];
    return [
      ...this.node(
        planned,
        before,
        join.map((one) => this.urn(`${one}-handover`)),
      ),
      ...strandedIn(planned).flatMap((one) => this.node(one, [], [])),
    ];
  }

  /** VM, claim and join of a node. */
  private node(planned: SlotPlan, beforeVm: string[], beforeJoin: string[]): Declared[] {
    const { name, vmid } = planned;
    const host = hostOf(this.live, this.config.site.hosts, planned);
    const environment = this.slotEnvironment(planned);
    const rollout = this.urn("rollout");
    return [
      { urn: name, after: beforeVm, vm: { made: { name, vmid, host }, image: planned.generation.spec.image } },
      { urn: `${name}-claim`, after: [name], step: { verb: "claim", environment, rollout, made: name } },
      { urn: `${name}-join`, after: [`${name}-claim`, ...beforeJoin], step: { verb: "join", environment, rollout } },
    ];
  }

  private handover({ slot, gate, handover }: SlotOrder, gateExists: boolean): Declared {
    const gates = gate && gateExists ? [this.urn("gate")] : [];
    return {
      urn: this.urn(`${slot}-handover`),
      after: [this.join(slot), ...gates, ...handover.map((one) => this.urn(`${one}-handover`))],
      step: { verb: "handover", environment: this.slotEnvironment(this.slot(slot)), rollout: this.urn("rollout") },
    };
  }

  private poolStep(verb: Verb, after: string[], rollout: string | undefined = this.urn("rollout")): Declared {
    const site = stepSite(this.config);
    const environment = environmentOf({ cluster: this.config.cluster, site, plan: this.plan });
    return {
      urn: this.urn(verb),
      after,
      step: { verb, environment, rollout: verb === "rollout" ? undefined : rollout },
    };
  }

  private slotEnvironment(slot: SlotPlan): Record<string, string> {
    const { pool, role, strategy } = this.plan;
    return environmentOf({ cluster: this.config.cluster, site: stepSite(this.config), pool, role, strategy, slot });
  }

  private slot(number: number): SlotPlan {
    const found = this.plan.slots.find(({ slot }) => slot === number);
    if (!found) throw new Error(`the order names slot ${number}, which the plan does not have`);
    return found;
  }

  private join(slot: number): string {
    return `${this.slot(slot).name}-join`;
  }

  private urn(what: string): string {
    return `${this.config.cluster}-${this.plan.pool}-${what}`;
  }
}
