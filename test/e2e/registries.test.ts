import assert from "node:assert/strict";
import { Site } from "./site.ts";

const registry = "registry.lab.test";
const password = "the first password of the registry";

interface Pod {
  spec: { nodeName?: string };
  status?: {
    phase?: string;
    containerStatuses?: { state: { waiting?: { reason: string; message?: string } } }[];
  };
}

/** A site whose images come from a registry that asks for credentials. */
describe("registries of a site's own, end to end", function () {
  this.timeout(300_000);
  let site: Site;

  before(async () => {
    site = await Site.create("127.83");
    await site.configure({ "controlPlane.servers": 1, "pools.0.slots": 2, "pools.0.strategy.surge": 2 });
    await site.up();
  });

  after(() => site.close());

  const path = "/api/v1/namespaces/default/pods";

  /** A pod with an image of the registry, on a node of the pool. */
  const start = async (name: string): Promise<void> => {
    const spec = {
      containers: [{ name: "app", image: `${registry}/app:1` }],
      nodeSelector: { "evergreen.dev/pool": "workers" },
    };
    const made = await site.withKube((kube) =>
      kube.call("POST", path, { apiVersion: "v1", kind: "Pod", metadata: { name }, spec }),
    );
    assert.equal(made.status, 201);
  };

  const pod = async (name: string): Promise<Pod> =>
    (await site.withKube((kube) => kube.call<Pod>("GET", `${path}/${name}`))).body;

  const runs = (name: string): Promise<void> =>
    site.until(`${name} to run`, async () => (await pod(name)).status?.phase === "Running");

  const cannotPull = (name: string): Promise<void> =>
    site.until(`${name} to lack its image`, async () => {
      const [container] = (await pod(name)).status?.containerStatuses ?? [];
      const { reason, message = "" } = container?.state.waiting ?? {};
      return reason === "ImagePullBackOff" && message.includes("401 Unauthorized");
    });

  const tell = async (secret: string): Promise<string> => {
    const at = `evergreen:registries.configs["${registry}"].auth`;
    return [
      await site.expect(0, "config", "set", "--stack", "dev", "--path", `${at}.username`, "puller"),
      await site.expect(0, "config", "set", "--stack", "dev", "--secret", "--path", `${at}.password`, secret),
    ].join("\n");
  };

  it("lack their images on nodes that do not know them", async () => {
    await start("before");
    await cannotPull("before");
  });

  it("are refused in clear, before anything is touched", async () => {
    await site.configure({ registries: { configs: { [registry]: { auth: { username: "puller", password } } } } });
    const said = await site.fails();
    assert.match(said, /the registries have credentials in clear/);
    assert.ok(!said.includes(password), said);
    await site.configure({ registries: undefined });
  });

  it("are known to new nodes before RKE2 starts, and to nobody else", async () => {
    await tell(password);
    await site.configure({ "pools.0.rollout": 1 });
    const preview = await site.expect(0, "preview", "--diff", "--stack", "dev");
    const said = await site.up();
    await start("after");
    await runs("after");
    const state = await site.expect(0, "stack", "export", "--stack", "dev");
    for (const text of [preview, said, state]) assert.ok(!text.includes(password));
    await site.unchanged();
    await site.expect(0, "refresh", "--yes", "--stack", "dev");
    await site.unchanged();
  });

  it("change in place when their credentials do, with no new node and no pod restarted", async () => {
    const rotated = "the second password of the registry";
    await site.load();
    const before = [...(await site.vms("servers")), ...(await site.vms("workers"))];
    await site.lab.call("POST /faults", { kind: "registry", password: rotated });
    await start("rotated");
    await cannotPull("rotated");
    await tell(rotated);
    const preview = await site.expect(0, "preview", "--diff", "--stack", "dev");
    assert.match(preview, /demo-workers-0-\w+, demo-workers-1-\w+: the registries change in place, first of all/);
    const status = async () => (await site.evergreen("status", "--stack", "dev")).output;
    const outdated = await status();
    assert.match(outdated, /demo-workers-0-\w+, demo-workers-1-\w+: with other registries .*npx pulumi up --stack dev/);
    const said = await site.up();
    await runs("rotated");
    assert.doesNotMatch(await status(), /registries/);
    assert.deepEqual([...(await site.vms("servers")), ...(await site.vms("workers"))], before);
    const state = await site.expect(0, "stack", "export", "--stack", "dev");
    for (const text of [preview, outdated, said, state]) assert.ok(!text.includes(rotated) && !text.includes(password));
    await site.unchanged();
    assert.deepEqual(await site.complaints(), []);
  });

  it("stay as they are on nodes whose image promises no unit for them, which are named", async () => {
    await site.lab.call("POST /faults", {
      kind: "template",
      vmid: 9050,
      version: "1.2.0",
      rke2: "v1.34.4+rke2r1",
      units: [],
    });
    await site.configure({ "pools.0.image": "ubuntu-24.04-rke2-v1.2.0" });
    await site.up();
    await tell("the third password of the registry");
    const said = await site.up();
    assert.match(
      said,
      /demo-workers-0-\w+, demo-workers-1-\w+: the registries stay as they are[^]*raise rollout of workers/,
    );
    await site.unchanged();
  });
});
