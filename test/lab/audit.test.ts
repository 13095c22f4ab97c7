import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { dirname } from "node:path";
import { Agent, request } from "undici";
import { Deadline } from "../../src/runtime/deadline.ts";
import { readKubeconfig } from "../../lab/kube.ts";
import type { Lab } from "../../lab/lab.ts";
import type { LabOptions } from "../../lab/site.ts";
import type { Operator } from "./support/operator.ts";
import { labOptions, startCluster } from "./support/start.ts";

const maps = "/api/v1/namespaces/default/configmaps";

describe("requests to Kubernetes that are held", function () {
  this.timeout(180_000);
  let options: LabOptions;
  let lab: Lab;
  let operator: Operator;

  before(async () => {
    options = await labOptions("127.92", { audit: true });
    ({ lab, operator } = await startCluster(options, 0));
  });

  after(async () => {
    await operator.close();
    await lab.stop();
    await rm(dirname(options.directory), { recursive: true });
  });

  /** Creates an object as somebody who is not the lab. @returns the status that was answered */
  const create = async (name: string): Promise<number> => {
    const { server, ca, cert, key } = readKubeconfig(readFileSync(lab.env.KUBECONFIG, "utf8"));
    const dispatcher = new Agent({ connect: { ca, cert, key } });
    try {
      const body = JSON.stringify({ metadata: { name } });
      const headers = { "content-type": "application/json" };
      const answer = await request(server + maps, { method: "POST", dispatcher, headers, body });
      await answer.body.dump();
      return answer.statusCode;
    } finally {
      await dispatcher.destroy();
    }
  };
  const exists = async (name: string) => (await operator.kube.call("GET", `${maps}/${name}`)).status === 200;

  for (const [when, there, status] of [
    ["before", false, 500],
    ["after", true, 201],
  ] as const)
    it(`wait ${when} their effect, without an answer`, async () => {
      let answered: number | undefined;
      await lab.call("POST /faults", { kind: "hold", effect: "change", nth: 1, when });
      const answer = create(when).then((code) => (answered = code));
      const text = `held ${when} its effect: POST ${maps}`;
      await new Deadline(text, 60).poll(20, async () => (await lab.events()).find((event) => event.text === text));
      assert.equal(await exists(when), there);
      assert.equal(answered, undefined);
      await lab.call("DELETE /faults", undefined);
      assert.equal(await answer, status);
      assert.equal(await exists(when), there);
    });

  it("are counted unless they are the lab's own", async () => {
    const { boundaries } = await lab.status;
    await operator.kube.call("POST", maps, { metadata: { name: "own" } });
    await create("other");
    assert.deepEqual((await lab.status).boundaries, { ...boundaries, changes: boundaries.changes + 1 });
  });
});
