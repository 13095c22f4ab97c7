import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { isDeepStrictEqual } from "node:util";
import { parse } from "yaml";
import { declareCluster } from "../../components/cluster.ts";
import type { Kubernetes } from "../../src/clients/kubernetes/client.ts";
import { migrateRecord, readPoolRecord } from "../../src/clients/kubernetes/record.ts";
import { readGoingAway, readWantedServers } from "../../src/clients/kubernetes/cluster-record.ts";
import { paths } from "../../src/clients/kubernetes/types.ts";
import { ownSettings, readConfig, type Config } from "../../src/config/config.ts";
import { variables } from "../../src/domain/model/step-environment.ts";
import type { NodeRecord, ObservedNode, ObservedVm, PoolRecord } from "../../src/domain/model/types.ts";
import type { ObservedCluster } from "../../src/observe/observed-cluster.ts";
import { planPools } from "../../src/program/cluster-plan.ts";
import { plannedCluster } from "../../src/program/plan-update.ts";
import { parseState } from "../../src/recovery/engine-state.ts";
import { freshCluster, type FakeCluster, type Stored } from "../clients/kubernetes/fake.ts";
import { readGuardInput, readPoolInput, readSlotInput, readSnapshotInput } from "../../src/steps/input.ts";
import { verbs } from "../../src/steps/verbs.ts";
import { graphOf, type Registered } from "../support/graph.ts";
import { picture } from "../support/picture.ts";

/*
 * What commit 1fa92b1 left on two sites of the lab, each as `pulumi stack export` and the ConfigMaps of its record had
 * it. `held`: three servers; the agents' generation was judged failed after a node had been healed. `soaking`: one
 * server; blue-green agents that soak after two rollouts. From the states, resources have the fields that are used.
 */
const fixtures = join(import.meta.dirname, "..", "fixtures", "commit-1fa92b1");
const read = (...path: string[]): string => readFileSync(join(fixtures, ...path), "utf8");

const sites = ["held", "soaking"] as const;
type Site = (typeof sites)[number];

/** The time of an update by today's program: both sites were left a few minutes before. */
const now = new Date("2026-11-29T22:20:00Z");

const UUIDS = [
  "48697a82-c8e6-40ba-88a5-cbb48c73336a",
  "bf768284-c65a-4c84-b03e-72580a0aa692",
  "333dd390-d930-4085-98c2-56532aaddc89",
] as const;

type Environment = Record<string, string>;

interface StoredResource {
  urn: string;
  type: string;
  inputs?: Record<string, unknown>;
  ignoreChanges?: readonly string[];
}

/** Whether the program declares a resource itself: not the stack, and not a default provider. */
const isOurs = ({ type }: Pick<StoredResource, "type">): boolean => !type.startsWith("pulumi:");

const resourcesOf = (site: Site): StoredResource[] =>
  (JSON.parse(read(site, "state.json")) as { deployment: { resources: StoredResource[] } }).deployment.resources.filter(
    isOurs,
  );

const recordOf = (site: Site): Stored[] => JSON.parse(read(site, "record.json")) as Stored[];

function configOf(site: Site): Config {
  const { config } = parse(read(site, "Pulumi.dev.yaml")) as { config: Record<string, unknown> };
  return readConfig(ownSettings(config));
}

function store(cluster: FakeCluster, maps: readonly Stored[]): void {
  for (const map of maps)
    cluster.objects.set(`${paths.configMaps}/${map.metadata.name}`, { kind: "ConfigMap", ...map });
}

/** Name of a resource with its type and that of its parent: what makes it the same resource. The mocks know no more. */
function placeOf(urn: string): string {
  const [types = "", name = ""] = urn.split("::").slice(2);
  const own = types.split("$").filter((type) => type !== "pulumi:pulumi:Stack");
  return `${own.slice(-2).join("$")}::${name}`;
}

/** Whether a node had its slot when the site was left. */
const serves = (record: PoolRecord | undefined, name: string): boolean =>
  record?.nodes.some((node) => node.name === name && node.phase === "handedOver") === true;

/** Both APIs as they were when the site was left: the VMs of the state, and the members of the record. */
function observed(site: Site, records: ReadonlyMap<string, PoolRecord>, kubernetes: Kubernetes): ObservedCluster {
  const vms = parseState(read(site, "state.json")).vms.map(({ name, vmid, host }): ObservedVm => {
    const record = [...records.values()].find(({ nodes }) => nodes.some((node) => node.name === name));
    const node = record?.nodes.find((one) => one.name === name);
    assert.ok(record && node && host, name);
    const { uuid, slot, generation } = node;
    return { vmid, name, host, running: serves(record, name), uuid, pool: record.pool, slot, generation };
  });
  const nodes = vms
    .filter(({ pool, name }) => serves(records.get(pool), name))
    .map(({ name, uuid, pool, slot, generation }): ObservedNode => {
      const role = pool === "servers" ? "server" : "agent";
      return { name, uuid, pool, slot, generation, role, ready: true, schedulable: true, kubelet: "v1.34.4+rke2r1" };
    });
  const { images } = picture();
  const sameRke2 = new Map([...images].map(([name, image]) => [name, { ...image, rke2: "v1.34.4+rke2r1" }]));
  const takenVmids = [...vms.map(({ vmid }) => vmid), 9001, 9002];
  return picture({ images: sameRke2, vms, nodes, records, takenVmids, kubernetes });
}

/** Everything of the program that the engine sees, declared as index.ts does. */
async function declared(config: Config, observed: ObservedCluster): Promise<readonly Registered[]> {
  const clusterPlan = planPools(config, observed, now);
  const planned = plannedCluster(config, { observed, clusterPlan, places: new Map(), templates: new Map() });
  const { resources } = await graphOf(() => declareCluster(planned));
  return resources.filter(isOurs);
}

/** The inputs that the program gave, without those that the provider filled in. */
function given(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(given);
  if (typeof value !== "object" || value === null) return value;
  const { __defaults: defaults = [], ...rest } = value as Record<string, unknown> & { __defaults?: string[] };
  const own = Object.entries(rest).filter(([key]) => !defaults.includes(key));
  return Object.fromEntries(own.map(([key, one]) => [key, given(one)]));
}

/** Inputs by name, a step's variables among them. The pool's rollout is an output, which no mock has. */
function inputsOf({ inputs = {}, ignoreChanges = [] }: Pick<StoredResource, "inputs" | "ignoreChanges">) {
  const { environment = {}, ...own } = given(inputs) as Record<string, unknown>;
  const told = { ...(environment as Record<string, string>) };
  if (variables.rollout in told) told[variables.rollout] = "(output)";
  const all = Object.entries({ ...own, ...told });
  return new Map(all.filter(([key]) => !ignoreChanges.includes(key)));
}

/** Inputs that are not as they were, and what they are now. */
function changes(was: StoredResource, is: Registered): { input: string; now: unknown }[] {
  const [before, after] = [inputsOf({ ...was, ignoreChanges: is.ignoreChanges }), inputsOf(is)];
  const names = [...new Set([...before.keys(), ...after.keys()])];
  return names
    .filter((input) => !isDeepStrictEqual(before.get(input), after.get(input)))
    .map((input) => ({ input, now: after.get(input) }));
}

/** Every input in which a declaration of today must differ from that of 1fa92b1. An update runs such a step once. */
const differences = [
  {
    of: /-(claim|join)$/,
    input: variables.allowDestroy,
    // Their deletes may be part of a destroy without a guard, and then know by it whether they may go on.
    now: "true",
  },
];

const node = (name: string, vmid: number, uuid: string, address: string, phase: NodeRecord["phase"], since: string) => {
  const [, , slot, generation = ""] = name.split("-");
  return { name, slot: Number(slot), generation, vmid, uuid, address, phase, since: `2026-11-29T${since}Z` };
};

describe("what commit 1fa92b1 wrote", () => {
  let cluster: FakeCluster;
  let client: Kubernetes;
  freshCluster((fresh, itsClient) => ([cluster, client] = [fresh, itsClient]));

  const readRecords = async (site: Site): Promise<Map<string, PoolRecord>> => {
    store(cluster, recordOf(site));
    return new Map([
      ["servers", await readPoolRecord(client, "servers")],
      ["workers", await readPoolRecord(client, "workers")],
    ]);
  };

  it("says the same facts about nodes and generations, a healing and the reason of a failure among them", async () => {
    const workers = (await readRecords("held")).get("workers");
    const spec = {
      image: "ubuntu-24.04-rke2-v1.0.0",
      rke2: "v1.34.4+rke2r1",
      ...{ cores: 2, memoryMiB: 4096, diskGiB: 10 },
      config: { "kubelet-arg": ["max-pods=60"] },
      labels: { "example.com/disk": "fast" },
      taints: ["example.com/batch=yes:PreferNoSchedule"],
      rollout: 0,
    };
    assert.deepEqual(workers, {
      pool: "workers",
      healing: "2026-11-29T22:13:44.612Z",
      generations: [
        { id: "09d721eb", spec, state: "proved", since: "2026-11-29T22:13:26.000Z" },
        {
          id: "afb726c7",
          spec: { ...spec, image: "ubuntu-24.04-rke2-v1.1.0" },
          state: "failed",
          since: "2026-11-29T22:14:01.004Z",
          why: "demo-workers-0-afb726c7: gave up after 8 s waiting for demo-workers-0-afb726c7 to be Ready",
        },
      ],
      nodes: [
        ...[
          node("demo-workers-0-09d721eb", 1100, UUIDS[0], "127.171.0.101", "handedOver", "22:13:24.000"),
          node("demo-workers-0-afb726c7", 1102, UUIDS[1], "127.171.0.103", "retired", "22:14:05.000"),
          node("demo-workers-1-09d721eb", 1101, UUIDS[2], "127.171.0.102", "handedOver", "22:13:24.000"),
        ],
      ],
    });
  });

  it("says the same facts after they were moved to their slots", async () => {
    const before = await readRecords("held");
    for (const pool of before.keys()) await migrateRecord(client, pool);
    for (const [pool, record] of before) assert.deepEqual(await readPoolRecord(client, pool), record);
  });

  it("says how many servers are wanted, and that a cluster is being torn down", async () => {
    store(cluster, recordOf("held"));
    assert.deepEqual([await readWantedServers(client), await readGoingAway(client)], [3, false]);
    store(cluster, [JSON.parse(read("going-away.json")) as Stored]);
    assert.deepEqual([await readWantedServers(client), await readGoingAway(client)], [3, true]);
  });

  for (const site of sites) {
    it(`lets an update of the site "${site}" change nothing but what it must`, async () => {
      const config = configOf(site);
      const today = await declared(config, observed(site, await readRecords(site), client));
      const before = new Map(resourcesOf(site).map((one) => [placeOf(one.urn), one]));
      assert.deepEqual(today.map(({ urn }) => placeOf(urn)).sort(), [...before.keys()].sort(), "no other resources");
      for (const one of today) {
        const expected = differences
          .filter(({ of }) => of.test(one.name))
          .map(({ input, now: value }) => ({ input, now: value }));
        const was = before.get(placeOf(one.urn));
        assert.deepEqual(was && changes(was, one), expected, one.name);
      }
    });

    it(`can be read by the steps that the engine starts with the inputs of the site "${site}"`, () => {
      const steps = resourcesOf(site).filter(({ type }) => type === "command:local:Command");
      for (const { urn, inputs = {} } of steps) {
        const { create, delete: last, environment } = inputs as Record<string, string> & { environment: Environment };
        for (const verb of [create, last]) assert.ok(verb === undefined || verb in verbs, verb);
        const name = urn.split("::").at(-1);
        if (create === "guard") assert.equal(readGuardInput(environment).allowDestroy, true);
        else if (create === "snapshot") assert.equal(readSnapshotInput(environment).backup.leastBytes, 65_536);
        else if (create === "rollout" || create === "gate" || create === "verify")
          assert.equal(`demo-${readPoolInput(environment).pool}-${create}`, name);
        else assertSlot(name, create, environment);
      }
    });
  }
});

function assertSlot(name: string | undefined, verb: string | undefined, environment: Environment): void {
  const { pool, slot, node: own, generation, vmid, rollout } = readSlotInput(environment);
  assert.equal(own, `demo-${pool}-${slot}-${generation}`);
  assert.equal(`${verb === "handover" ? `demo-${pool}-${slot}` : own}-${verb}`, name);
  assert.ok(vmid >= 1000 && /^[0-9a-f-]+$/.test(rollout), `${vmid} ${rollout}`);
}
