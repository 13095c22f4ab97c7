import assert from "node:assert/strict";
import { clock, useClock } from "../../src/runtime/clock.ts";
import { UserErrors } from "../../src/runtime/errors.ts";
import { serverVms, type Access } from "../../src/clients/kubernetes/access.ts";
import type { Kubernetes } from "../../src/clients/kubernetes/client.ts";
import { labelsOf } from "../../src/clients/kubernetes/nodes.ts";
import { writeFacts } from "../../src/clients/kubernetes/record.ts";
import { paths, type Node } from "../../src/clients/kubernetes/types.ts";
import { tagsOf } from "../../src/clients/proxmox/tags.ts";
import type { ListedVm } from "../../src/clients/proxmox/vms.ts";
import { adoptedGeneration } from "../../src/domain/model/generation.ts";
import { defaultTimeouts } from "../../src/domain/model/step-environment.ts";
import type { PoolRecord } from "../../src/domain/model/types.ts";
import { decommissionIncomplete } from "../../src/steps/node/incomplete-nodes.ts";
import type { PoolInput } from "../../src/steps/input.ts";
import { keepsSlot, departingNode } from "../../src/steps/node/departing-nodes.ts";
import { requireRegistration } from "../../src/steps/cluster/registration-address.ts";
import type { StepContext } from "../../src/steps/context.ts";
import { stepDownAdopted, stepDown } from "../../src/steps/node/step-down.ts";
import { freshCluster, type FakeCluster } from "../clients/kubernetes/fake.ts";
import { fakeProxmox, type Answer, type Seen } from "../clients/proxmox/fake.ts";

const site = {
  registrationAddress: "10.0.0.5",
  proxmoxPool: "nodes",
  serverPool: "servers",
  timeouts: defaultTimeouts,
};
const generation = adoptedGeneration("kube-a");
const adopted = (pool: string, changes: Partial<ListedVm> = {}): ListedVm => ({
  vmid: 302,
  host: "pve1",
  name: "kube-a",
  status: "running",
  template: false,
  tags: tagsOf({ cluster: "demo", pool, slot: 1, generation }),
  pool: "nodes",
  ...changes,
});
const noFile: Answer = { status: 500, reason: "Agent error: No such file or directory" };

/** Does something with a guest that has these files. */
async function withGuest<T>(files: Record<string, string>, work: (context: StepContext) => Promise<T>): Promise<T> {
  const answer = ({ method, path, parameters: { file = "" } }: Seen): Answer => {
    if (path.endsWith("/config"))
      return { data: { name: "kube-a", tags: adopted("workers").tags.join(), digest: "d" } };
    if (method === "POST") return noFile;
    return file in files ? { data: { content: files[file] } } : noFile;
  };
  await using pve = await fakeProxmox(answer);
  return await work({
    pve: pve.client,
    id: "run-1",
    stop: new AbortController().signal,
    mayTearDown: false,
    previous: "",
  });
}

describe("the way into the cluster of an adopted node", () => {
  const config = "/etc/rancher/rke2/config.yaml";
  const registration = "server: https://10.0.0.5:9345\n";
  const ours = adopted("workers", {
    name: "demo-workers-1-0a1b2c3d",
    tags: tagsOf({ cluster: "demo", pool: "workers", slot: 1, generation: "0a1b2c3d" }),
  });
  const cases: [string, ListedVm, Record<string, string>, RegExp | undefined][] = [
    ["an agent through the registration address", adopted("workers"), { [config]: registration }, undefined],
    ["the server that made the cluster", adopted("servers"), { [config]: "tls-san: [10.0.0.5]\n" }, undefined],
    ["a server without a file of RKE2's", adopted("servers"), {}, undefined],
    [
      "an agent through a server",
      adopted("workers"),
      { [config]: "server: https://10.0.0.11:9345\n" },
      /through https:\/\/10\.0\.0\.11:9345 and not/,
    ],
    [
      "an agent through a server, of which the list has no name",
      adopted("workers", { name: undefined, status: "unknown" }),
      { [config]: "server: https://10.0.0.11:9345\n" },
      /through https:\/\/10\.0\.0\.11:9345 and not/,
    ],
    [
      "a server through another one",
      adopted("servers"),
      { [config]: "server: https://10.0.0.11:9345\n" },
      /kube-a reaches the cluster/,
    ],
    ["an agent that does not say", adopted("workers"), {}, /through what stands outside of \/etc\/rancher/],
    [
      "one that was given join data like ours",
      adopted("workers"),
      { "/etc/evergreen/join.yaml": registration },
      undefined,
    ],
    [
      "a server of ours that joined through a former address: RKE2 ignores it by now",
      adopted("servers", {
        name: "demo-servers-1-0a1b2c3d",
        tags: tagsOf({ cluster: "demo", pool: "servers", slot: 1, generation: "0a1b2c3d" }),
      }),
      { "/etc/evergreen/join.yaml": "server: https://old.example:9345\n" },
      undefined,
    ],
    [
      "a node of ours without join data: it will be told",
      ours,
      { [config]: "server: https://10.0.0.11:9345\n" },
      undefined,
    ],
  ];
  for (const [title, vm, files, why] of cases) {
    it(`${why ? "stops" : "lets"} a server${why ? "" : " leave"}: ${title}`, async () => {
      const asked = withGuest(files, (context) =>
        requireRegistration(context, { cluster: "demo", site }, [vm], new Set()),
      );
      if (why === undefined) await asked;
      else
        await assert.rejects(asked, (error) => {
          assert.ok(error instanceof UserErrors);
          assert.match(error.problems[0]?.what ?? "", why);
          assert.match(error.problems[0]?.todo ?? "", /write "server: https:\/\/10\.0\.0\.5:9345" into that file/);
          return true;
        });
    });
  }
});

describe("the way into the cluster of a node of ours", () => {
  const name = "demo-workers-1-0a1b2c3d";
  const vm = adopted("workers", {
    name,
    tags: tagsOf({ cluster: "demo", pool: "workers", slot: 1, generation: "0a1b2c3d" }),
  });
  const silent: Answer = { status: 500, reason: "QEMU guest agent is not running" };

  afterEach(() => useClock());

  it("stops a server while the agent of a member is silent, and not for a VM that never joined", async () => {
    // Nobody waits here for the ten seconds that it gets.
    const real = clock;
    useClock({ ...real, elapsed: () => real.elapsed() * 40 });
    await using pve = await fakeProxmox(() => silent);
    const run = { pve: pve.client, id: "run-1", stop: new AbortController().signal, mayTearDown: false, previous: "" };
    await requireRegistration(run, { cluster: "demo", site }, [vm], new Set());
    await assert.rejects(
      requireRegistration(run, { cluster: "demo", site }, [vm], new Set([name])),
      /does not say how it reaches the cluster/,
    );
  });
});

describe("an adopted server that leaves", () => {
  it("need not carry out what only our image can; one of ours must", async () => {
    await withGuest({}, (context) => stepDownAdopted(context, adopted("servers")));
    await assert.rejects(
      withGuest({}, (context) => stepDown(context, adopted("servers"), 1)),
      /No such file or directory/,
    );
  });

  it("is a way into the cluster under its own name, and under no other", () => {
    const where = { cluster: "demo", ...site };
    const found = (vm: ListedVm) => serverVms([vm], where).length;
    assert.equal(found(adopted("servers")), 1);
    assert.equal(found(adopted("servers", { name: "kube-b" })), 0);
    assert.equal(found(adopted("servers", { pool: "billing" })), 0);
    assert.equal(found(adopted("workers")), 0);
  });

  it("leaves under the name that was remembered, by the uuid of the configuration", () => {
    const own = {
      name: "kube-a",
      slot: 1,
      generation,
      vmid: 302,
      uuid: "uuid-302",
      phase: "handedOver" as const,
      since: "",
    };
    const record: PoolRecord = { pool: "servers", generations: [], nodes: [own] };
    const place = { cluster: "demo", pool: "servers", role: "server" as const, slot: 1 };
    // Whoever has registered under its name is not the VM that was recorded.
    const node = { metadata: { name: "kube-a" }, status: { nodeInfo: { systemUUID: "uuid-of-another" } } } as Node;
    const departing = departingNode(place, generation, { vm: adopted("servers"), node, record });
    assert.deepEqual([departing.name, departing.adopted, departing.expected.uuid], ["kube-a", true, "uuid-302"]);
    assert.deepEqual(departing.expected.tags, adopted("servers").tags);
    const other = departingNode(place, "0a1b2c3d", { vm: undefined, node: undefined, record });
    assert.deepEqual([other.name, other.adopted, other.own], ["demo-servers-1-0a1b2c3d", false, undefined]);
  });

  it("keeps its slot exactly as long as the plan makes nothing of it", () => {
    const plan = (slots: number[]) => ({
      digest: "d",
      slots: slots.map((slot) => ({ slot, name: `demo-servers-${slot}-0a1b2c3d`, vmid: 1000, generation: "0a1b2c3d" })),
    });
    assert.equal(keepsSlot(plan([0]), { name: "kube-a", slot: 1, generation }), true);
    assert.equal(keepsSlot(plan([0, 1]), { name: "kube-a", slot: 1, generation }), false);
    assert.equal(keepsSlot(plan([0]), { name: "demo-servers-1-aaaaaaaa", slot: 1, generation: "aaaaaaaa" }), false);
  });
});

describe("the end of a run", () => {
  let cluster: FakeCluster;
  let client: Kubernetes;
  freshCluster((fresh, itsClient) => ([cluster, client] = [fresh, itsClient]));

  for (const [what, vm, phase] of [
    ["an adopted node whose slot is not planned", adopted("workers"), "handedOver"],
    ["a VM in another Proxmox pool", adopted("workers", { pool: "billing" }), "made"],
  ] as const)
    it(`leaves ${what} alone`, async () => {
      const place = { cluster: "demo", pool: "workers", slot: 1, generation };
      const own = { name: "kube-a", slot: 1, generation, vmid: vm.vmid, uuid: "uuid-302", phase };
      await writeFacts(client, "workers", { nodes: [{ ...own, since: "2026-01-01T00:00:00Z" }] });
      if (phase === "handedOver") cluster.put(paths.nodes, { metadata: { name: "kube-a", labels: labelsOf(place) } });
      const plan = { digest: "d", slots: [] };
      const strategy = { kind: "rolling", surge: 1, maxUnavailable: 1, soakSeconds: 0, onFailure: "hold" };
      const input = { ...place, role: "agent", plan, strategy, site } as unknown as PoolInput;
      const before = cluster.calls.length;
      await withGuest({}, (context) => decommissionIncomplete(context, input, { client } as Access, [vm]));
      const wrote = cluster.calls.slice(before).filter(({ method }) => method !== "GET");
      assert.deepEqual(wrote, []);
    });
});
