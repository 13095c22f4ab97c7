import assert from "node:assert/strict";
import type { Kubernetes } from "../../src/clients/kubernetes/client.ts";
import { readPoolRecord, writeFacts } from "../../src/clients/kubernetes/record.ts";
import type { GenerationState, NodeRecord } from "../../src/domain/model/types.ts";
import { judgeFailed } from "../../src/steps/node/verdict.ts";
import { freshCluster } from "../clients/kubernetes/fake.ts";

describe("the verdict on a generation whose node has failed", () => {
  let client: Kubernetes;
  freshCluster((_, itsClient) => (client = itsClient));

  const id = "0a1b2c3d";
  const spec = { image: "ubuntu-24.04-rke2-v1.0.0", rke2: "v1.34.4+rke2r1", cores: 2, memoryMiB: 4096, diskGiB: 20 };
  const since = "2026-11-21T08:00:00.000Z";
  const node: NodeRecord = {
    name: `demo-workers-0-${id}`,
    slot: 0,
    generation: id,
    vmid: 1100,
    uuid: "6b0124f9-0000-4000-8000-000000000100",
    phase: "made",
    since,
  };

  const cases: [before: GenerationState | undefined, after: GenerationState][] = [
    [undefined, "failed"],
    ["rolling", "failed"],
    ["soaking", "failed"],
    ["proved", "proved"],
  ];
  for (const [before, after] of cases)
    it(`is ${after} when it was ${before ?? "not remembered"}, and the node has failed`, async () => {
      const generations = before === undefined ? [] : [{ id, spec, state: before, since }];
      await writeFacts(client, "workers", { generations, nodes: [node] });
      await judgeFailed(client, "workers", { id, spec }, "it never got Ready", node);
      const record = await readPoolRecord(client, "workers");
      assert.deepEqual(
        record.generations.map(({ state, why }) => [state, why]),
        [[after, after === "failed" ? "it never got Ready" : undefined]],
      );
      assert.equal(record.nodes[0]?.phase, "failed");
    });

  it("leaves the slot to who has it when the generation was proved before: nothing better would come", async () => {
    const owner: NodeRecord = { ...node, phase: "handedOver" };
    for (const [state, phase] of [
      ["proved", "handedOver"],
      ["soaking", "failed"],
    ] as const) {
      await writeFacts(client, "workers", { generations: [{ id, spec, state, since }], nodes: [owner] });
      await judgeFailed(client, "workers", { id, spec }, "it did not get Ready again", owner);
      assert.equal((await readPoolRecord(client, "workers")).nodes[0]?.phase, phase);
    }
  });
});
