/** An update that fails for one cause, and whether the generation that was being rolled out is judged for it. */
import assert from "node:assert/strict";
import type { Vm } from "./data-centre.ts";
import type { Image } from "./guest.ts";
import type { Workload } from "./pods.ts";
import { Stage, stageImages } from "./stage.ts";

/** A failed update, to test whether it says anything about the generation that was being rolled out. */
export interface Case {
  when: string;
  /** Defect of the second image, to which the agents are rolled. */
  image?: Image["fault"];
  workload?: Partial<Workload>;
  soakSeconds?: number;
  /** What happens while the update runs. */
  happens?: (stage: Stage) => Promise<void> | void;
  says: RegExp;
}

export async function plays(
  { image, workload, soakSeconds = 0, happens, says }: Case,
  isGuilty: boolean,
): Promise<void> {
  const app: Workload = { name: "app", replicas: 2, minAvailable: 1, slowestEnd: 1000, claims: false, ...workload };
  const workloads = workload ? [app] : [];
  const stage = new Stage(stageImages(image), { servers: 3, agents: 2, workloads, soakSeconds });
  await stage.play(async () => {
    const fate = Promise.resolve(happens?.(stage));
    await stage.up({ ...stage.agentsOf(1), slots: 2 });
    assert.match(stage.engine.why, says);
    await fate;
  });
  assert.equal(isJudged(stage), isGuilty, stage.engine.why);
  // The images of the model are good, so the watcher reports the verdict; here the cause counts as the node's own.
  const others = stage.world.story.violations.filter(
    (one) => !(isGuilty && one.startsWith("a good generation is judged")),
  );
  assert.deepEqual(others, []);
}

type Phase = "cloned" | "running" | "registered" | "joined" | "soaking";

/** Waits until the first new node of the update has reached a phase. */
export async function arriving(stage: Stage, phase: Phase): Promise<Vm> {
  const { dc, cluster } = stage.world;
  const find = () => [...dc.vms.values()].find(({ vmid }) => vmid === 1102);
  const record = () =>
    JSON.stringify(
      cluster.objects
        .list("configmaps")
        .flatMap(({ metadata, data }) => (metadata.name.includes("workers") ? [data] : [])),
    );
  const has = (vm: Vm): boolean => {
    if (phase === "cloned") return true;
    if (phase === "running") return vm.running;
    if (phase === "registered") return cluster.objects.get("nodes", vm.name) !== undefined;
    if (phase === "joined") return new RegExp(`${vm.name}[^}]*phase[^}]*joined`).test(record());
    return /state[^}]*soaking/.test(record());
  };
  const isThere = () => {
    const vm = find();
    return vm !== undefined && has(vm);
  };
  // React at the very change of the cluster: the next step is milliseconds away.
  if (phase === "cloned" || phase === "running") await stage.until(isThere);
  else await new Promise<void>((resolve) => cluster.objects.onChange(() => isThere() && resolve()));
  return vmNamed(stage, find()?.name ?? "");
}

export function vmNamed({ world }: Pick<Stage, "world">, name: string): Vm {
  const vm = [...world.dc.vms.values()].find((one) => one.name === name);
  if (vm === undefined) throw new Error(`there is no VM ${name}`);
  return vm;
}

function isJudged({ world }: Stage): boolean {
  const data = world.cluster.objects.get("configmaps", "evergreen-system/pool-workers")?.data as Record<string, string>;
  return Object.entries(data).some(([key, fact]) => key.startsWith("generation.") && fact.includes('"state":"failed"'));
}
