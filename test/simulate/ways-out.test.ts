import assert from "node:assert/strict";
import { tagsOf } from "../../src/clients/proxmox/tags.ts";
import type { Vm } from "./data-centre.ts";
import type { Wish } from "./scenario.ts";
import type { Stored } from "./objects.ts";
import { Stage, stageImages } from "./stage.ts";

/** A node whose VM somebody has changed. */
interface Refused {
  stage: Stage;
  /** The VM of the node as it was. */
  vm: Vm;
  /** Another VM, in its place or beside it. */
  other: Vm;
  /** What is configured. */
  wish: Wish;
}

/** What an operator does who reads these words in a refusal. */
interface Way {
  words: RegExp;
  follow: (refused: Refused, found: RegExpExecArray) => void;
}

/** In the order in which a message names them. */
const ways = {
  "puts it back into the Proxmox pool": {
    words: /pvesh set \/pools\/\S+ --vms (\d+)/,
    follow: ({ stage }, [, vmid]) => void (stage.vm(Number(vmid)).pool = "nodes"),
  },
  "gives the VM its name back": {
    words: /made as (\S+) .*rename it back|give it back its name/,
    follow: ({ vm }) => void (vm.name = named),
  },
  "gives the VM its tags back": {
    words: /tags .*give them back|its name and its tags/,
    follow: ({ vm }) => void (vm.tags = tags),
  },
  "gives the VM its number back": {
    words: /qmrestore that as VM (\d+) with --pool and without --unique, then destroy VM \d+/,
    follow: ({ stage, vm }, [, vmid]) => renumber(stage, vm, Number(vmid)),
  },
  "gives the VM its uuid back": {
    words: /qm set (\d+) --smbios1 uuid=(\S+), and stop and start it/,
    follow: ({ stage, vm }, [, vmid, uuid]) => {
      assert.deepEqual([Number(vmid), uuid], [vm.vmid, vm.uuid]);
      stage.world.dc.vms.set(vm.vmid, vm);
    },
  },
  "puts the labels back": {
    words: /put the labels evergreen.dev\/\* or the tags eg-\* back/,
    follow: ({ stage, vm }) => relabel(stage, vm, "0"),
  },
  "takes the tags off the other VM": {
    words: /remove (our|its) tags from|take (our name and our tags|name and tags) off/,
    follow: ({ other }) => void (other.tags = []),
  },
  "shuts the other VM down": { words: /shut it down/, follow: ({ other }) => void (other.running = false) },
  "gives the other VM another number": {
    words: /move (the stranger|this one) to another number|give (it|this one) another number/,
    follow: ({ stage, other }) => renumber(stage, other, 4711),
  },
  "destroys the other VM": {
    words: /or destroy it\b|delete the copy|destroy VM \d+ .*by hand/,
    follow: ({ stage, other }) => void stage.world.dc.vms.delete(other.vmid),
  },
  "has the engine forget the VM": {
    words: /npx pulumi state delete --target-dependents '([^']+)'/,
    follow: ({ stage }, [, urn = ""]) => stage.engine.state.forgets(urn),
  },
  "turns the VM off": {
    words: /turn it off|shut it down and switch `start at boot` off/,
    follow: ({ stage, vm }) => {
      stage.cutPower(vm.vmid);
      vm.onBoot = false;
    },
  },
  "destroys the VM": {
    words: /destroy it by hand|destroy VM \d+ .*by hand/,
    follow: ({ stage, vm }) => void stage.world.dc.vms.delete(vm.vmid),
  },
  "starts the servers": {
    words: /start the server VMs/,
    follow: ({ stage }) => {
      for (const vm of stage.world.dc.vms.values()) if (vm.name.includes("-servers-")) stage.world.dc.powerOn(vm);
    },
  },
  "restores the record": {
    words: /restore the record \(ConfigMap evergreen-system\/(\S+)\) from a backup/,
    follow: ({ stage }, [, name = ""]) => {
      const kept = backup.get(name);
      assert.ok(kept);
      stage.world.cluster.objects.put("configmaps", kept);
    },
  },
  // Its own refusal is the next message.
  repairs: { words: /evergreen repair/, follow: () => undefined },
} satisfies Record<string, Way>;

/** Objects of the cluster, by name. */
const backup = new Map<string, Stored>();
let named = "";
let tags: string[] = [];

/** A situation in which an update is refused. */
interface Situation {
  when: string;
  /** @returns the other VM, if there is one */
  arrange: (stage: Stage, vm: Vm) => unknown;
  /** The ways that fit the situation, of those that messages name. */
  takes: (keyof typeof ways)[];
}

const situations: Situation[] = [
  { when: "is deleted", arrange: lose, takes: ["repairs"] },
  {
    when: "is deleted, and its Node too",
    arrange: (stage, vm) => {
      lose(stage, vm);
      stage.world.cluster.objects.remove("nodes", vm.name);
    },
    takes: ["repairs"],
  },
  {
    when: "is moved out of the Proxmox pool",
    arrange: (_, vm) => void (vm.pool = "theirs"),
    takes: ["puts it back into the Proxmox pool"],
  },
  { when: "has another name", arrange: (_, vm) => void (vm.name = "renamed"), takes: ["gives the VM its name back"] },
  { when: "has lost its tags", arrange: (_, vm) => void (vm.tags = []), takes: ["gives the VM its tags back"] },
  {
    when: "has lost one tag",
    arrange: (_, vm) => void (vm.tags = vm.tags.filter((tag) => !tag.startsWith("eg-slot"))),
    takes: ["gives the VM its tags back"],
  },
  {
    when: "has lost its name and its tags",
    arrange: (_, vm) => void Object.assign(vm, { name: "renamed", tags: [] }),
    takes: ["gives the VM its name back", "gives the VM its tags back"],
  },
  {
    when: "has a label that contradicts its tags",
    arrange: (stage, vm) => relabel(stage, vm, "7"),
    takes: ["puts the labels back"],
  },
  {
    when: "is deleted, and a VM out of sight has its number",
    arrange: (stage, vm) => stranger(stage, vm, { pool: "theirs" }),
    takes: ["gives the other VM another number", "repairs"],
  },
  {
    when: "is deleted, and a VM of somebody else in our Proxmox pool has its number",
    arrange: (stage, vm) => stranger(stage, vm, { pool: "nodes" }),
    takes: ["gives the other VM another number", "repairs"],
  },
  {
    when: "is deleted, and a copy of it under another uuid has its number",
    arrange: (stage, vm) => stranger(stage, vm, { pool: "nodes", name: vm.name, tags: vm.tags }),
    takes: ["takes the tags off the other VM", "gives the other VM another number", "repairs"],
  },
  {
    when: "is deleted, and a copy of it under another uuid has its number, which is destroyed",
    arrange: (stage, vm) => stranger(stage, vm, { pool: "nodes", name: vm.name, tags: vm.tags }),
    takes: ["destroys the other VM", "repairs"],
  },
  {
    when: "was restored under another uuid",
    arrange: (stage, vm) => stranger(stage, vm, { pool: "nodes", name: vm.name, tags: vm.tags, owner: "ours" }),
    takes: ["gives the VM its uuid back"],
  },
  {
    when: "was restored under another number",
    arrange: (stage, vm) => renumber(stage, vm, 1150),
    takes: ["gives the VM its number back"],
  },
  {
    when: "was restored under another number, and nobody needs it",
    arrange: (stage, vm) => {
      stage.cutPower(vm.vmid);
      renumber(stage, vm, 1150);
    },
    takes: ["takes the tags off the other VM", "repairs"],
  },
  {
    when: "is off with all servers",
    arrange: (stage) => {
      stage.cutPower(1000, 1001, 1002);
    },
    takes: ["starts the servers"],
  },
  {
    when: "is off with most servers",
    arrange: (stage) => {
      stage.cutPower(1000, 1002);
    },
    takes: ["starts the servers"],
  },
  {
    when: "is deleted, and a copy of it that is off has another number",
    arrange: (stage, vm) => copy(stage, vm, lose),
    takes: ["takes the tags off the other VM", "repairs"],
  },
  {
    when: "has a copy beside it that is off",
    arrange: (stage, vm) => copy(stage, vm),
    takes: ["takes the tags off the other VM"],
  },
  {
    when: "has a copy beside it, which is destroyed",
    arrange: (stage, vm) => copy(stage, vm),
    takes: ["destroys the other VM"],
  },
  {
    when: "has a copy under another uuid beside it",
    arrange: (stage, vm) => copy(stage, vm, undefined, stage.world.dc.uuid()),
    takes: ["takes the tags off the other VM"],
  },
  {
    when: "has lost its tags, and a copy beside it has them",
    arrange: (stage, vm) => copy(stage, vm, () => (vm.tags = [])),
    takes: ["takes the tags off the other VM", "gives the VM its tags back"],
  },
];

/** Every refusal leads on: who does what it says is done within two steps, and comes to no message a second time. */
describe("the ways out of a refusal", function () {
  this.timeout(60_000);
  for (const vmid of [1101, 1001])
    for (const statistics of [true, false])
      for (const situation of situations)
        it(`lead on when the VM of ${vmid === 1101 ? "an agent" : "a server"} ${situation.when}${statistics ? "" : ", and the statistics of its host hang"}`, () =>
          walk(vmid, situation, statistics));
});

interface Leftover extends Pick<Situation, "when" | "takes"> {
  /** @returns the VM that somebody has touched */
  arrange: (stage: Stage) => Promise<Vm> | Vm;
}

const clone = { name: "demo-workers-1-09c3448c", vmid: 1103, host: "pve1", pool: "nodes" };
const cloneTags = tagsOf({ cluster: "demo", pool: "workers", slot: 1, generation: "09c3448c" });

/** A VM that has the number of a clone of the engine's state, which nothing has claimed. */
function unclaimed({ world: { dc }, engine }: Stage, as: Partial<Vm>): Vm {
  engine.state.knows(clone);
  const vm = dc.add({ owner: "ours", uuid: dc.uuid(), ...clone, ...as });
  vm.disk.set("image", stageImages()[1]?.name ?? "");
  dc.inhabit(vm);
  dc.powerOn(vm);
  return vm;
}

/** Leftovers of killed runs that somebody has touched, and a record that is lost. */
const leftovers: Leftover[] = [
  {
    when: "a clone whose create never ended was started",
    arrange: async (stage) => {
      const { dc } = stage.world;
      const isCloned = () => dc.vms.has(1102) && stage.vm(1102).lock === undefined;
      assert.equal(await stage.dieAt(stage.agentsOf(1), isCloned), "killed");
      dc.powerOn(stage.vm(1102));
      return stage.vm(1102);
    },
    takes: ["turns the VM off", "repairs"],
  },
  {
    when: "a clone that was never configured was started",
    arrange: (stage) => unclaimed(stage, { tags: ["eg-image"] }),
    takes: ["turns the VM off", "repairs"],
  },
  {
    when: "a clone that was never configured was started, and is destroyed by hand",
    arrange: (stage) => unclaimed(stage, { tags: ["eg-image"] }),
    takes: ["destroys the VM", "repairs"],
  },
  {
    when: "a clone that was never claimed was started",
    arrange: (stage) => unclaimed(stage, { tags: cloneTags }),
    takes: ["turns the VM off"],
  },
  {
    when: "a VM of somebody else has the number of a clone that was never claimed",
    arrange: (stage) => unclaimed(stage, { owner: "stranger", name: "theirs" }),
    takes: ["has the engine forget the VM"],
  },
  {
    when: "the record of a pool was deleted",
    arrange: (stage) => {
      const { objects } = stage.world.cluster;
      const record = objects.get("configmaps", "evergreen-system/pool-workers");
      assert.ok(record);
      backup.set("pool-workers", record);
      objects.remove("configmaps", "evergreen-system/pool-workers");
      return stage.vm(1100);
    },
    takes: ["restores the record"],
  },
];

describe("the ways out of what killed runs and hands left", function () {
  this.timeout(60_000);
  for (const { when, arrange, takes } of leftovers)
    it(`lead on when ${when}`, async () => {
      const stage = new Stage(stageImages(), { servers: 3, agents: 2 });
      stage.engine.repairs.destroysByHand = false;
      await stage.play(async () => {
        const vm = await arrange(stage);
        await getOut({ stage, vm, other: vm, wish: stage.agentsOf(1) }, takes);
      });
    });
});

async function walk(vmid: number, { arrange, takes }: Situation, statistics: boolean): Promise<void> {
  const stage = new Stage(stageImages(), { servers: 3, agents: 2 });
  const { dc, watcher } = stage.world;
  stage.engine.repairs.destroysByHand = false;
  await stage.play(async () => {
    const vm = stage.vm(vmid);
    [named, tags] = [vm.name, vm.tags];
    watcher.struck(vm.name);
    const other = (arrange(stage, vm) as Vm | undefined) ?? vm;
    if (!statistics) for (const host of dc.hosts) dc.withoutStatistics.add(host);
    await getOut({ stage, vm, other, wish: stage.before }, takes);
  });
}

/** Does what each refusal says, until an update is done. */
async function getOut(refused: Refused, takes: Situation["takes"]): Promise<void> {
  const { stage, wish } = refused;
  const heard: string[] = [];
  let why = "";
  for (;;) {
    await stage.world.time.sleep(90_000);
    if (why === "" && (await stage.up(wish)) === "done") break;
    const said = why || stage.engine.why;
    const fitting = takes.flatMap((way) => {
      const found = ways[way].words.exec(said);
      return found === null ? [] : [{ way, found }];
    });
    heard.push(`${said} => ${fitting.map(({ way }) => way).join(", ") || "nothing fits"}`);
    assert.ok(heard.length <= 2 && fitting.length > 0, heard.join("\n"));
    // A repair that is refused leads on too.
    for (const { way, found } of fitting) why = await follow(way, refused, found);
  }
  assert.ok(heard.length > 0, "it was not refused");
}

/** @returns why what was done is refused; empty: it is not */
async function follow(way: keyof typeof ways, refused: Refused, found: RegExpExecArray): Promise<string> {
  if (way === "repairs") return await refused.stage.repair(refused.wish);
  ways[way].follow(refused, found);
  return "";
}

function lose(stage: Stage, vm: Vm): void {
  stage.cutPower(vm.vmid);
  stage.world.dc.vms.delete(vm.vmid);
}

function stranger(stage: Stage, vm: Vm, as: Partial<Vm>): Vm {
  lose(stage, vm);
  const { dc } = stage.world;
  return dc.add({ owner: "stranger", vmid: vm.vmid, name: "theirs", host: vm.host, uuid: dc.uuid(), ...as });
}

/** A backup that was restored beside its VM. */
function copy(stage: Stage, vm: Vm, happens: (stage: Stage, vm: Vm) => unknown = () => undefined, uuid = vm.uuid): Vm {
  const { name, host, pool } = vm;
  happens(stage, vm);
  return stage.world.dc.add({ owner: "stranger", vmid: 1150, name, host, pool, tags: [...tags], uuid });
}

function renumber({ world: { dc } }: Stage, vm: Vm, vmid: number): void {
  dc.vms.delete(vm.vmid);
  dc.vms.set(vmid, Object.assign(vm, { vmid }));
}

function relabel({ world }: Stage, vm: Vm, slot: string): void {
  const { objects } = world.cluster;
  const node = objects.get("nodes", vm.name);
  assert.ok(node);
  const own = vm.vmid % 10;
  const labels = { ...node.metadata.labels, "evergreen.dev/slot": slot === "0" ? String(own) : slot };
  objects.put("nodes", { ...node, metadata: { ...node.metadata, labels } });
}
