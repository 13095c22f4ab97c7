import assert from "node:assert/strict";
import type { Access } from "../../src/clients/kubernetes/access.ts";
import type { Kubernetes } from "../../src/clients/kubernetes/client.ts";
import { readPoolRecord } from "../../src/clients/kubernetes/record.ts";
import type { Node } from "../../src/clients/kubernetes/types.ts";
import { tagsOf } from "../../src/clients/proxmox/tags.ts";
import type { ListedVm, VmConfig } from "../../src/clients/proxmox/vms.ts";
import type { NodeRecord } from "../../src/domain/model/types.ts";
import type { Claimed } from "../../src/steps/node/claimed.ts";
import { proveIdentity, remember } from "../../src/steps/verbs/claim.ts";
import type { SlotInput } from "../../src/steps/input.ts";
import { freshCluster } from "../clients/kubernetes/fake.ts";
import { fakeProxmox } from "../clients/proxmox/fake.ts";

const uuid = "6b0124f9-0000-4000-8000-000000000100";
const another = "6b0124f9-0000-4000-8000-000000000999";
const input = {
  cluster: "demo",
  pool: "workers",
  slot: 0,
  generation: "0a1b2c3d",
  node: "demo-workers-0-0a1b2c3d",
  vmid: 1100,
  madeVmid: 1100,
} as SlotInput;
const vm = { vmid: 1100, host: "pve1", name: input.node, status: "stopped" } as ListedVm;

interface Given {
  runs?: true;
  onBoot?: true;
  founder?: true;
  /** Number that the engine made. */
  made?: number | undefined;
  record?: Partial<NodeRecord>;
  /** SMBIOS uuid that a Node of its name tells. */
  node?: string;
  /** What the claim printed when it ran last. */
  printed?: Partial<Claimed>;
}

describe("a VM that has a node's number, name and tags", () => {
  const proved = async ({ runs, onBoot, founder, record, node, printed, ...given }: Given) => {
    await using pve = await fakeProxmox(({ path }) => {
      if (path.endsWith("/status/current")) return { data: { status: runs ? "running" : "stopped" } };
      const config = { name: input.node, smbios1: `uuid=${uuid}`, tags: tagsOf(input).join(";"), digest: "d" };
      return { data: { ...config, ...(onBoot ? { onboot: 1 } : {}) } };
    });
    const { signal } = new AbortController();
    const run = {
      pve: pve.client,
      id: "claim-1",
      stop: signal,
      mayTearDown: false,
      previous: printed ? JSON.stringify(printed) : "",
    };
    const own = record && ({ name: input.node, uuid, vmid: 1100, phase: "made", ...record } as NodeRecord);
    const known = {
      node: node === undefined ? undefined : ({ status: { nodeInfo: { systemUUID: node } } } as Node),
      record: { pool: "workers", generations: [], nodes: own ? [own] : [] },
      own,
    };
    const asked = { ...input, madeVmid: "made" in given ? given.made : 1100 };
    return await proveIdentity(run, asked, vm, { view: known, founder: founder === true });
  };
  const claimed = { name: input.node, vmid: 1100, uuid };

  const ours: [when: string, given: Given][] = [
    ["has never run, and is the one that was made", {}],
    ["has never run, and nobody says which was made", { made: undefined }],
    ["runs, and is remembered", { runs: true, record: {} }],
    ["runs, and makes the cluster", { runs: true, founder: true }],
    ["runs, and its claim has printed it", { runs: true, printed: claimed }],
    ["comes back and was not destroyed yet", { onBoot: true, record: { phase: "retired" }, printed: claimed }],
    ["is remembered, and its Node tells the same uuid", { runs: true, record: {}, node: uuid.toUpperCase() }],
  ];
  for (const [when, given] of ours)
    it(`is ours when it ${when}`, async () => {
      assert.equal((await proved(given)).uuid, uuid);
    });

  const others: [when: string, given: Given, says: RegExp][] = [
    ["runs, and nobody remembers it", { runs: true }, /was started by somebody else/],
    ["was started once, as it starts with its host", { onBoot: true }, /was started by somebody else/],
    ["is another than the one that was made", { made: 1101 }, /is not the one that was made as it, which was VM 1101/],
    ["is remembered with another uuid", { record: { uuid: another } }, /SMBIOS uuid .* recorded/],
    ["was printed with another uuid", { printed: { ...claimed, uuid: another } }, /SMBIOS uuid .* recorded/],
    ["is not the machine of the Node of its name", { record: {}, node: another }, /a Node .* is another machine/],
    ["is remembered, and a Node tells no uuid", { record: {}, node: "" }, /its SMBIOS uuid is unknown/],
    ["took the number of a retired one, and runs", { runs: true, record: { phase: "retired" } }, /by somebody else/],
    [
      "took the number of a retired one that was claimed",
      { record: { phase: "retired" }, printed: { ...claimed, uuid: another } },
      /SMBIOS uuid .* recorded/,
    ],
  ];
  for (const [when, given, says] of others)
    it(`is not touched when it ${when}`, async () => {
      await assert.rejects(proved(given), says);
    });
});

describe("what is remembered of a VM before anything is done with it", () => {
  let client: Kubernetes;
  freshCluster((_, itsClient) => (client = itsClient));

  const spec = { image: "ubuntu-24.04-rke2-v1.0.0", rke2: "v1.34.4+rke2r1", cores: 2, memoryMiB: 4096, diskGiB: 20 };
  const keeps = [{ claim: "shop/data-0", size: "10Gi" }];
  const cases: [when: string, before: Partial<NodeRecord> | undefined, after: Partial<NodeRecord>][] = [
    ["nobody remembered it", undefined, { phase: "made", uuid }],
    ["it is a member", { phase: "handedOver" }, { phase: "handedOver", uuid }],
    ["it has failed", { phase: "failed" }, { phase: "made", uuid }],
    ["it comes back with data that is kept for it", { phase: "retired", keeps }, { phase: "made", uuid, keeps }],
    ["another VM comes in its place", { phase: "retired", uuid: another, keeps }, { phase: "made", uuid }],
  ];
  for (const [when, before, after] of cases)
    it(`is ${JSON.stringify(after)} when ${when}`, async () => {
      const { node: name, slot, generation, vmid } = input;
      const since = "2026-01-01T00:00:00Z";
      const own = before && ({ name, slot, generation, vmid, uuid, since, ...before } as NodeRecord);
      const record = { pool: "workers", generations: [], nodes: own ? [own] : [] };
      const config = { uuid } as VmConfig;
      await remember({ ...input, spec }, { client } as Access, { node: undefined, record, own }, config);
      const { nodes, generations } = await readPoolRecord(client, "workers");
      const { phase, uuid: recorded, keeps: kept } = nodes[0] ?? {};
      assert.deepEqual({ phase, uuid: recorded, keeps: kept }, { keeps: undefined, ...after });
      assert.deepEqual(
        generations.map(({ id, state }) => [id, state]),
        [["0a1b2c3d", "rolling"]],
      );
    });
});
