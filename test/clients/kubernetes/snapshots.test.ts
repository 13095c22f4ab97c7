import assert from "node:assert/strict";
import { redact } from "../../../src/runtime/log.ts";
import { readServerToken, tokenHash } from "../../../src/clients/kubernetes/server-token.ts";
import { bytesOf, snapshotFile } from "../../../src/clients/kubernetes/snapshots.ts";
import { fakeProxmox } from "../proxmox/fake.ts";

describe("the size of a snapshot", () => {
  const cases: [number | string | undefined, number | undefined][] = [
    ["4567", 4567],
    [4567, 4567],
    ["0", 0],
    ["12k", 12_000],
    ["3M", 3_000_000],
    ["12Ki", 12_288],
    ["5Mi", 5_242_880],
    ["12e3", 12_000],
    ["", undefined],
    [undefined, undefined],
    ["-1", undefined],
    ["1.5k", undefined],
    ["12x", undefined],
    ["99999999999999999999", undefined],
  ];
  for (const [quantity, bytes] of cases) {
    it(`"${String(quantity)}" is ${bytes ?? "not known"}`, () => {
      assert.equal(bytesOf(quantity), bytes);
    });
  }
});

describe("what RKE2 publishes of a snapshot", () => {
  it("is not ready, and has no size, when it says nothing", () => {
    const { ready, bytes, error, uploaded } = snapshotFile({});
    assert.deepEqual([ready, bytes, error, uploaded], [false, undefined, undefined, false]);
  });

  it("has failed when there is an error, also one without words", () => {
    assert.equal(snapshotFile({ status: { error: {} } }).error, "RKE2 gives no reason");
  });
});

describe("the server token", () => {
  const read = async (content: string) => {
    await using pve = await fakeProxmox(() => ({ data: { content } }));
    const server = { vmid: 1000, host: "pve1", name: "demo-servers-0", template: false, tags: [] };
    return await readServerToken(pve.client, server as never);
  };
  const password = "0123456789abcdef";

  for (const text of [`K10${"a".repeat(64)}::server:${password}`, `server:${password}`, password]) {
    it(`has its password at its end, and shows neither: ${text.slice(0, 3)}...`, async () => {
      const token = await read(`${text}\n`);
      assert.deepEqual(token, { text, password });
      assert.equal(redact(`${text} ${password}`), "****** ******");
    });
  }

  it("is known by the first digits of the password's SHA-256, whatever stands before it", async () => {
    const hashes = await Promise.all([read(password), read(`K10${"b".repeat(64)}::server:${password}`)]);
    // printf 0123456789abcdef | sha256sum
    assert.deepEqual(hashes.map(tokenHash), ["9f9f5111f7b2", "9f9f5111f7b2"]);
  });

  it("is not empty", async () => {
    await assert.rejects(read("\n"), /the server token has a form that is not understood/);
  });
});
