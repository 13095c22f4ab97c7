import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { stackBakes } from "../../src/config/bake-order.ts";
import type { Config } from "../../src/config/config.ts";
import { bakeNote, imageOf, markOf, templateOptionsOf, templateTagsOf } from "../../src/domain/images/bake.ts";
import type { ImageState } from "../../src/domain/images/bake-plan.ts";
import { identityOf, recordNote } from "../../src/domain/images/template-identity.ts";
import { makeRecord } from "../../src/evidence/make-record.ts";
import { writeRecord } from "../../src/evidence/image-records.ts";
import type { ListedVm } from "../../src/clients/proxmox/vms.ts";
import { templateOf } from "../../src/observe/observed-cluster.ts";
import { observeBakes, withBakes } from "../../src/observe/baked-images.ts";
import { planPools } from "../../src/program/cluster-plan.ts";
import { fakeProxmox, type Answer } from "../clients/proxmox/fake.ts";
import { contents, keyPair, subjectWith } from "../evidence/image.ts";
import { NEW, picture, smallConfig } from "../support/picture.ts";

const image = "ubuntu-24-04-rke2-v1.0.0";
const key = keyPair();
const now = new Date("2026-08-10T12:00:00Z");

describe("the images that a stack bakes itself", () => {
  let records: string;
  beforeEach(() => {
    records = mkdtempSync(join(tmpdir(), "bakes-"));
  });
  afterEach(() => rmSync(records, { recursive: true }));

  const config = (changes: object = {}): Config =>
    smallConfig({
      images: {
        records,
        keys: [{ name: "site", publicKey: key.publicKey, from: "2026-01-01" }],
        bakes: {
          images: [{ image, vmid: 9100, proofVmid: 9101 }],
          range: { first: 9100, last: 9199 },
          place: { host: "pve1", imageStorage: "images" },
        },
        ...changes,
      },
    });

  const bakeIn = (its: Config) => {
    const [one] = stackBakes(its, process.cwd());
    assert.ok(one);
    return one.bake;
  };

  /** The template that a bake has made, with other options. */
  function template(changes: Record<string, unknown> = {}): Record<string, unknown> {
    const bake = bakeIn(config());
    return {
      ...Object.fromEntries(templateOptionsOf(bake)),
      ...{ name: image, tags: templateTagsOf(bake).join(";"), template: 1, digest: "0" },
      smbios1: "uuid=5d2a0b0c-7d3f-4e67-9b57-1d1f6b5f9a01",
      description: bakeNote(markOf(bake, "baked")),
      ...changes,
    };
  }

  /** The same with a record in the store, which says that these tests failed. */
  async function recorded(failed: string[] = []): Promise<Record<string, unknown>> {
    const bake = bakeIn(config());
    const shown = template();
    const identity = identityOf(new Map(Object.entries(shown).map(([name, value]) => [name, String(value)])));
    assert.ok(identity);
    const { definition } = bake;
    const subject = { ...subjectWith(), definition: bake.digest, templates: [identity] };
    const about = { name: definition.name, version: definition.version };
    const at = "2026-08-01T10:00:00.000Z";
    const said = { contents, shell: {}, builder: { stack: "evergreen/dev", version: "0.1.0" }, startedOn: at, at };
    const record = { subject: { ...subject, ...about }, definition, ...said, passed: ["boots"], failed };
    const note = recordNote(await writeRecord(records, await makeRecord(record, key.signing)));
    return { ...shown, description: `${String(shown.description)}\n${note}` };
  }

  const listed = (name: string, more: Partial<ListedVm> = {}): ListedVm => ({
    ...{ vmid: 9100, host: "pve1", name, status: "stopped", template: true, tags: [], pool: "templates" },
    ...more,
  });

  async function look(list: ListedVm[], answer: Answer, its = config()) {
    await using pve = await fakeProxmox(({ path }) =>
      path.endsWith("/status/current") ? { data: { status: "stopped" } } : answer,
    );
    return await observeBakes(pve.client, its, list, now);
  }

  async function stateOf(shown: Record<string, unknown>, its?: Config): Promise<ImageState | undefined> {
    const [found] = await look([listed(image)], { data: shown }, its);
    return found?.state;
  }

  it("are none without a list, and nobody is asked", async () => {
    await using pve = await fakeProxmox(() => ({ status: 500, reason: "nobody asks" }));
    assert.deepEqual(await observeBakes(pve.client, smallConfig(), [], now), []);
    assert.equal(pve.seen.length, 0);
  });

  it("are missing until the template is ready", async () => {
    assert.equal((await look([], { data: {} }))[0]?.state, "missing");
    const half = template({ name: `bake-${image}`, tags: "evergreen;eg-bake", template: 0 });
    const made = { ...half, description: bakeNote(markOf(bakeIn(config()), "begun")) };
    assert.equal((await look([listed(`bake-${image}`, { template: false })], { data: made }))[0]?.state, "missing");
  });

  it("are proved by a record that is whole, and by no other", async () => {
    assert.equal(await stateOf(await recorded()), "proved");
    assert.equal(await stateOf(template()), "unproved");
    assert.equal(await stateOf(await recorded(["boot 1: swap"])), "unproved");
  });

  it("are not proved anew by this run when template or record are not as they were", async () => {
    const edited = { cores: 8 };
    assert.equal(await stateOf({ ...(await recorded()), ...edited }), "distrusted");
    assert.equal(await stateOf({ ...(await recorded(["boot 1: swap"])), ...edited }), "distrusted");
    assert.equal(await stateOf({ ...(await recorded()), smbios1: "base64=1" }), "distrusted");
    assert.equal(await stateOf(await recorded(), config({ keys: [] })), "distrusted");
    assert.equal(await stateOf(await recorded(), config({ records: join(records, "elsewhere") })), "distrusted");
  });

  it("are proved whatever other stacks say of them", async () => {
    const proof = { stacks: ["evergreen/dev"], days: 7 };
    const keys = [{ name: "site", publicKey: key.publicKey, from: "2026-01-01" }];
    assert.equal(await stateOf(await recorded(), config({ proof, keys })), "proved");
  });

  it("are left alone while their host does not answer", async () => {
    const answer = { status: 595, reason: "Errors during connection establishment, proxy handshake: No route to host" };
    assert.equal((await look([listed(image)], answer))[0]?.state, "silent");
  });

  it("are refused when another VM has the VMID or the name, or another content was baked", async () => {
    await assert.rejects(
      look([listed("db")], { data: { name: "db", smbios1: "uuid=1", digest: "0" } }),
      /no bake of ours/,
    );
    await assert.rejects(
      look([listed(image, { vmid: 300 })], { data: {} }),
      /is called ubuntu-24-04-rke2-v1\.0\.0 already/,
    );
    const bake = bakeIn(config());
    const other = { ...markOf(bake, "baked"), digest: "1".repeat(64), content: "2".repeat(64) };
    const shown = template({ description: bakeNote(other) });
    await assert.rejects(look([listed(image)], { data: shown }), /was baked as VM 9100, and is another image/);
  });

  it("are refused when no definition has their name and version", async () => {
    const bakes = {
      images: [{ image: "ubuntu-24-04-rke2-v9.0.0", vmid: 9100, proofVmid: 9101 }],
      range: { first: 9100, last: 9199 },
      place: { host: "pve1", imageStorage: "images" },
    };
    await assert.rejects(
      look([], { data: {} }, config({ bakes })),
      /there is no definition ubuntu-24-04-rke2-v9\.0\.0/,
    );
  });

  it("give nodes the generations that they have once the template is there", async () => {
    const found = await look([], { data: {} });
    const [one] = found;
    assert.ok(one);
    const { bake } = one;
    const { version } = bake.definition.rke2;
    const rolled = { pools: [{ name: "workers", image, slots: 2, vmIds: { first: 1100, last: 1109 } }] };
    const servers = { controlPlane: { image, servers: 1, vmIds: { first: 1000, last: 1009 } } };
    const its = smallConfig({ ...rolled, ...servers });
    const { images } = picture();
    const planned = withBakes(images, found);
    const there = new Map([
      ...images,
      [image, { name: image, rke2: version, templates: [{ vmid: 9100, host: "pve1" }] }],
    ]);
    const ids = (all: typeof planned) => {
      const { controlPlane, pools } = planPools(its, picture({ images: all }), now);
      return [controlPlane, ...pools].map(({ wanted, slots }) => [wanted?.id, slots.map(({ name }) => name)]);
    };
    assert.deepEqual(ids(planned), ids(there));
    assert.equal(imageOf(bake), image);
    assert.equal(withBakes(images, []).get(NEW), images.get(NEW));
    assert.equal(withBakes(images, [{ ...one, state: "silent" }]).has(image), false);
  });

  it("are on each host that is listed, and a node is cloned from the template of its own", () => {
    const twice = ["pve1", "pve2"].map((host, i) => ({ image, host, vmid: 9100 + i, proofVmid: 9150 + i }));
    const its = config({
      bakes: { images: twice, range: { first: 9100, last: 9199 }, place: { host: "pve1", imageStorage: "images" } },
    });
    const found = stackBakes(its, process.cwd()).map((one) => ({ ...one, state: "missing" as const }));
    assert.deepEqual(
      found.map(({ bake }) => [bake.place.host, bake.onHost, bake.digest === bakeIn(config()).digest]),
      [
        ["pve1", "pve1", true],
        ["pve2", "pve2", true],
      ],
    );
    const images = withBakes(new Map(), found);
    assert.deepEqual(images.get(image)?.templates, [
      { vmid: 9100, host: "pve1" },
      { vmid: 9101, host: "pve2" },
    ]);
    const observed = picture({ images });
    assert.equal(templateOf(observed, image, "pve2").vmid, 9101);
    assert.equal(bakeIn(config()).onHost, undefined, "the names of resources that are there do not change");
  });
});
