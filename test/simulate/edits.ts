import { calm } from "./faults.ts";
import type { Chance } from "./chance.ts";
import type { Image } from "./guest.ts";
import { strategyOf, type Act, type OtherPool, type Scenario, type Wish } from "./scenario.ts";
import type { Severity } from "./severity.ts";

/**
 * Turns a scenario into one of several pools whose configuration is edited between runs, most of which do not end: a
 * later run has to go on from whatever an earlier one has left of something else.
 */
export function editsOf(chance: Chance, scenario: Scenario, images: readonly Image[], severity: Severity): Scenario {
  const image = images[0]?.name ?? "";
  const servers = { image, count: chance.pick([1, 3, 5]), cores: 4, replaceOnlyServer: true };
  const others = ["db", "gpu"].slice(0, chance.between(0, 2)).map((name, index): OtherPool => {
    const slots = chance.between(1, 3);
    const first = 1140 + 40 * index;
    return { name, first, image, slots, rollout: 0, strategy: rolled(chance, slots) };
  });
  const before: Wish = { ...scenario.before, image, servers, others };
  const acts: Act[] = [];
  const gone: OtherPool[] = [];
  let wish = before;
  for (let act = chance.between(2, 5); act > 0; act -= 1) {
    for (let edit = chance.between(1, 3); edit > 0; edit -= 1) wish = edited(chance, wish, gone, images);
    acts.push(actOf(chance, wish, severity.edits));
  }
  return { ...scenario, servers: servers.count, before, planted: true, localVolumes: undefined, acts };
}

function edited(chance: Chance, wish: Wish, gone: OtherPool[], images: readonly Image[]): Wish {
  const image = chance.pick(images).name;
  const { servers, others = [] } = wish;
  const count = chance.pick([1, 3, 5]);
  const edits: (() => Wish)[] = [
    () => ({ ...wish, image }),
    () => ({ ...wish, ...(servers && { servers: { ...servers, image } }) }),
    // All at once, as with a new minor version.
    () => ({
      ...wish,
      image,
      others: others.map((pool) => ({ ...pool, image })),
      ...(servers && { servers: { ...servers, image } }),
    }),
    () => ({ ...wish, ...(servers && { servers: { ...servers, count } }) }),
    () => ({ ...wish, ...(servers && { servers: { ...servers, cores: servers.cores + 2 } }) }),
    () => ({ ...wish, ...sized(chance) }),
    () => ({ ...wish, rollout: wish.rollout + 1 }),
    () => ({ ...wish, strategy: rolled(chance, wish.slots) }),
    () => ({ ...wish, drainSeconds: chance.pick([180, 240]) }),
    ...(others.length > 0 ? [() => ({ ...wish, others: editedPool(chance, others, gone, image) })] : []),
    ...(gone.length > 0 ? [() => ({ ...wish, others: putBack(others, gone) })] : []),
  ];
  return chance.pick(edits)();
}

/** A strategy under which several nodes of a small pool may be out. */
function rolled(chance: Chance, slots: number): Record<string, unknown> {
  const most = Math.max(1, Math.min(3, slots - 1));
  return { ...strategyOf(chance, slots), maxUnavailable: chance.between(1, most) };
}

function sized(chance: Chance): Pick<OtherPool, "slots" | "strategy"> {
  const slots = chance.between(1, 4);
  return { slots, strategy: rolled(chance, slots) };
}

/** One of the further pools is edited, renamed or removed. */
function editedPool(chance: Chance, others: readonly OtherPool[], gone: OtherPool[], image: string): OtherPool[] {
  const pool = chance.pick(others);
  const rest = others.filter((one) => one !== pool);
  const edits: (() => OtherPool[])[] = [
    () => [...rest, { ...pool, image }],
    () => [...rest, { ...pool, ...sized(chance) }],
    () => [...rest, { ...pool, rollout: pool.rollout + 1 }],
    () => [...rest, { ...pool, strategy: rolled(chance, pool.slots) }],
    () => [...rest, { ...pool, name: `${pool.name}x` }],
    () => {
      gone.push(pool);
      return rest;
    },
  ];
  return chance.pick(edits)();
}

function putBack(others: readonly OtherPool[], gone: OtherPool[]): OtherPool[] {
  const pool = gone.pop();
  return pool === undefined || others.some(({ first }) => first === pool.first) ? [...others] : [...others, pool];
}

function actOf(chance: Chance, wish: Wish, { blows, more }: Severity["edits"]): Act {
  const kill = {
    request: chance.between(1, 700),
    side: chance.pick(["before", "after"] as const),
    what: chance.pick(["tree", "tree", "engine", "step", "interrupt"] as const),
  };
  const blow = {
    what: more === undefined ? ("power cut" as const) : chance.pick(more.whats),
    whom: chance.pick(["servers", "workers"] as const),
    after: "start" as const,
    at: chance.between(0, 240_000),
  };
  return {
    wish,
    weather: { ...calm, ...(more && { aim: chance.pick(more.aims) }) },
    blows: chance.happens(blows) ? [blow] : [],
    kill: chance.happens(0.75) ? kill : undefined,
    pause: chance.pick([0, 1000, 30_000, 60_000]),
  };
}
