import assert from "node:assert/strict";
import { guest } from "../../images/contract.ts";
import { filesOf, notAsked } from "../../src/clients/proxmox/guest-registries.ts";
import { observeRegistries, outdatedRegistries } from "../../src/observe/registries.ts";
import { fakeProxmox } from "../clients/proxmox/fake.ts";
import { OLD, picture, running, smallConfig } from "../support/picture.ts";

const spec = { image: OLD, rke2: "v1.34.4+rke2r1", cores: 4, memoryMiB: 8192, diskGiB: 40 };
const registries = { configs: { "r.example.org": { auth: { username: "u", password: "p" } } } };
const { digest } = filesOf(registries);

describe("the registries of nodes", () => {
  const nodes = [0, 1, 2, 3].map((slot) => running("workers", slot, spec, 1100 + slot));
  const records = nodes.map(({ vm: { name, slot, generation, vmid, uuid } }) => ({
    ...{ name, slot, generation, vmid, uuid },
    phase: "handedOver" as const,
    since: "2026-03-01T11:00:00.000Z",
  }));
  const observed = picture({
    vms: nodes.map(({ vm }) => vm),
    nodes: nodes.map(({ node }) => node),
    records: new Map([["workers", { pool: "workers", generations: [], nodes: records }]]),
  });
  const nameOf = (slot: number) => nodes[slot]?.vm.name ?? "";
  /** Node 0 has the configured ones, 1 and 2 have not, 2 has no unit, and 3 does not answer. */
  const answer = (path: string, file: string | undefined) => {
    if (path.includes("/1103/")) return { status: 500, reason: "QEMU guest agent is not running" };
    if (file === guest.registriesLoaded) return { data: { content: path.includes("/1100/") ? digest : "another" } };
    return { data: { content: JSON.stringify({ units: path.includes("/1102/") ? [] : ["registries"] }) } };
  };

  it("are compared with the configured ones; a status names the nodes with others, and what brings them up to date", async () => {
    await using pve = await fakeProxmox(({ path, parameters }) => answer(path, parameters.file));
    const found = await observeRegistries(pve.client, { ...smallConfig(), registries }, observed);
    assert.deepEqual([[...found.outdated], [...found.fixed.keys()]], [[nameOf(1)], [nameOf(2)]]);
    const [updated, kept, ...more] = outdatedRegistries(found, "prod");
    assert.equal(
      updated,
      `${nameOf(1)}: with other registries than the configured ones. These bring them: npx pulumi up --stack prod`,
    );
    assert.match(
      kept ?? "",
      new RegExp(`^${nameOf(2)}: .*promises no unit.*: raise rollout of the pool, then npx pulumi`),
    );
    assert.deepEqual(more, []);
  });

  it("stay where none are configured, but for those that RKE2 does not start with", async () => {
    // By node: what it has started with, and what it was told to restart for. Node 3 has none, and never had any.
    const files = [
      { loaded: digest, reload: digest },
      { loaded: "", reload: digest },
      { loaded: notAsked, reload: "" },
      { loaded: "", reload: "" },
    ];
    await using pve = await fakeProxmox(({ path, parameters: { file } }) => {
      const { loaded = "", reload = "" } = files[Number(/\/110(\d)\//.exec(path)?.[1])] ?? {};
      const units = path.includes("/1102/") ? [] : ["registries"];
      const content = { [guest.registriesLoaded]: loaded, [guest.registriesReload]: reload }[file ?? ""];
      return { data: { content: content ?? JSON.stringify({ units }) } };
    });
    const found = await observeRegistries(pve.client, smallConfig(), observed);
    assert.deepEqual([[...found.outdated], [...found.fixed.keys()]], [[nameOf(1)], []]);
  });

  it("cost one request a node that was never given any", async () => {
    const missing = { status: 500, reason: "Agent error: failed to open file: No such file or directory" };
    await using pve = await fakeProxmox(() => missing);
    const { outdated, fixed } = await observeRegistries(pve.client, smallConfig(), observed);
    assert.deepEqual([outdated.size, fixed.size], [0, 0]);
    assert.equal(pve.seen.length, nodes.length);
  });
});
