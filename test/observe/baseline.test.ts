import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Kubernetes } from "../../src/clients/kubernetes/client.ts";
import { writeRecord } from "../../src/evidence/image-records.ts";
import { readBaseline } from "../../src/observe/baseline.ts";
import type { ObservedCluster } from "../../src/observe/observed-cluster.ts";
import { fakeProxmox, type Answer } from "../clients/proxmox/fake.ts";
import { contents, keyPair, recordOf, subjectWith } from "../evidence/image.ts";
import { OLD, settledPicture, smallConfig } from "../support/picture.ts";

const key = keyPair();
const keys = [{ name: "site", publicKey: key.publicKey, from: "2026-01-01" }];
const [name = "", version = ""] = OLD.split(/-(?=v\d)/);

const status = contents.packages
  .map(
    (one) =>
      `Package: ${one.name}\nStatus: install ok installed\nArchitecture: ${one.architecture}\nVersion: ${one.version}\n`,
  )
  .join("\n");
const own = contents.packages.map((one) => `${one.name}\t${one.version}\t${one.architecture}\n`).join("");
const guest: Record<string, string> = {
  "/var/lib/dpkg/status": status,
  "/proc/sys/kernel/osrelease": "6.8.0-71-generic\n",
  "/var/lib/evergreen/record/packages": own,
};

const refusal = (reason: string): Answer => ({ status: 500, reason });
const answerOf = (files: Record<string, string>, file = ""): Answer => {
  const content = files[file];
  return content === undefined
    ? refusal(`Agent error: failed to open file '${file}' (mode: 'r'): No such file or directory`)
    : { data: { content } };
};

describe("the baseline of a cluster", () => {
  let project: string;
  beforeEach(() => (project = mkdtempSync(join(tmpdir(), "baseline-"))));
  afterEach(() => rmSync(project, { recursive: true }));

  const small = settledPicture({}, {} as unknown as Kubernetes, "2026-08-01T00:00:00Z");
  /** Drift of each node: `name weight what`. */
  const read = async (
    answer: (file: string, vmid: number) => Answer,
    { store, ...observed }: Partial<ObservedCluster> & { store?: object } = {},
  ): Promise<string[]> => {
    await using pve = await fakeProxmox(({ path, parameters }) =>
      answer(parameters.file ?? "", Number(/qemu\/(\d+)/.exec(path)?.[1])),
    );
    const config = smallConfig(store === undefined ? {} : { images: store });
    const found = await readBaseline(pve.client, config, { ...small, ...observed }, project);
    return found.flatMap((node) => node.drift.map(({ weight, what }) => `${node.vmid} ${weight} ${what}`));
  };

  it("is empty while each node is as the list in it says", async () => {
    assert.deepEqual(await read((file) => answerOf(guest, file)), []);
  });

  it("takes the signed record before the list in the node, which who changes packages can change", async () => {
    const record = await recordOf({ ...subjectWith(), name, version }, key.signing);
    await writeRecord(join(project, "records"), record);
    assert.deepEqual(await read((file) => answerOf(guest, file), { store: { keys } }), []);
    const forged = {
      ...guest,
      "/var/lib/dpkg/status": status.replace("3.0.13-0ubuntu3.5", "1.0"),
      "/var/lib/evergreen/record/packages": own.replace("3.0.13-0ubuntu3.5", "1.0"),
    };
    const found = await read((file) => answerOf(forged, file), { store: { keys } });
    assert.equal(found.length, 3);
    assert.match(found[0] ?? "", /^1000 other ~ openssl 3\.0\.13-0ubuntu3\.5 -> 1\.0 \(downgraded\)$/);
  });

  it("says so when the store has no signed record of an image, and does not fall back to the list in the node", async () => {
    const found = await read((file) => answerOf(guest, file), { store: { keys } });
    assert.equal(found.length, 3);
    assert.match(found[0] ?? "", /1000 unknown what its image holds is not known: the store has no record of ubuntu/);
  });

  const silent: [string, (file: string) => Answer, RegExp][] = [
    ["whose agent is silent", () => refusal("QEMU guest agent is not running"), /QEMU guest agent is not running/],
    ["that is no Debian", () => answerOf({}, "/x"), /no guest of Debian's kind/],
    [
      "whose list of packages is empty",
      (file) => answerOf({ ...guest, "/var/lib/dpkg/status": "" }, file),
      /list of packages is empty/,
    ],
  ];
  for (const [title, answer, why] of silent)
    it(`does not take a node for well ${title}`, async () => {
      const found = await read((file, vmid) => (vmid === 1100 ? answer(file) : answerOf(guest, file)));
      assert.ok(found.length > 0);
      for (const line of found) assert.match(line, /^1100 unknown /);
      assert.match(found.join("\n"), why);
    });

  it("names a node whose host or VM is off, asks it nothing, and leaves VMs alone that are kept for their data", async () => {
    const [first, second, third] = small.vms;
    assert.ok(first && second && third);
    const vms = [{ ...first, unreachable: "pve1 does not answer" }, { ...second, running: false }, third];
    const records = new Map(
      [...small.records].map(([pool, record]) => [
        pool,
        {
          ...record,
          nodes: record.nodes.map((one) => (one.uuid === third.uuid ? { ...one, phase: "retired" as const } : one)),
        },
      ]),
    );
    const found = await read(() => refusal("it was asked"), { vms, records });
    assert.deepEqual(found, [
      `${first.vmid} unknown what its image holds is not known: pve1 does not answer`,
      `${first.vmid} unknown its guest cannot be read: pve1 does not answer`,
      `${second.vmid} unknown what its image holds is not known: its VM does not run`,
      `${second.vmid} unknown its guest cannot be read: its VM does not run`,
    ]);
  });
});
