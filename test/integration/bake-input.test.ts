import assert from "node:assert/strict";
import type { BakeOrder } from "../../src/domain/images/bake.ts";
import { PUBLIC_SOURCES } from "../../src/domain/images/user-data.ts";
import { UserError, UserErrors } from "../../src/runtime/errors.ts";
import { redact } from "../../src/runtime/log.ts";
import { templateNameOf } from "../../src/domain/images/definition.ts";
import type { StepContext } from "../../src/steps/context.ts";
import { verbs } from "../../src/steps/verbs.ts";
import { readBakeOrder } from "../../src/steps/image/order.ts";
import { connectToBake } from "../../src/clients/proxmox/bake-token.ts";
import { definitionFixture, sha } from "../support/image-definition.ts";

const order: BakeOrder = {
  definition: definitionFixture,
  digest: sha("e"),
  folder: "images/ubuntu-24-04-rke2",
  shell: "images/bake",
  sources: PUBLIC_SOURCES,
  vmid: 9100,
  range: { first: 9100, last: 9199 },
  base: "images:import/noble-20260725-d1940f7d69d34335.qcow2",
  place: {
    ...{ host: "pve1", pool: "templates", storage: "local-lvm", imageStorage: "images", bridge: "vmbr0" },
    ...{ vlan: 20, cores: 2, memoryMiB: 4096 },
    address: { cidr: "10.20.0.9/24", gateway: "10.20.0.1", nameservers: ["10.20.0.1"] },
  },
  evidence: "bakes",
};

const asVariable = (value: unknown) => ({ EVERGREEN_BAKE: typeof value === "string" ? value : JSON.stringify(value) });

describe("the order of a bake", () => {
  it("is read as it was written", () => {
    assert.deepEqual(readBakeOrder(asVariable(order)), order);
  });

  const wrong: [what: string, value: unknown, says: RegExp][] = [
    ["is missing", "", /EVERGREEN_BAKE .* is missing/],
    ["is no JSON", "{", /is not JSON/],
    ["has no place", { ...order, place: undefined }, /place/],
    [
      "has an option of a drive in a storage",
      { ...order, place: { ...order.place, storage: "a:0,format=raw" } },
      /place\.storage/,
    ],
    [
      "has a network option in a bridge",
      { ...order, place: { ...order.place, bridge: "vmbr0,firewall=0" } },
      /place\.bridge/,
    ],
    ["has an option of a drive in its base", { ...order, base: "images:import/x.qcow2,size=1G" }, /base/],
    ["has a path of a host for its base", { ...order, base: "/etc/shadow" }, /base/],
    ["has no VMID that Proxmox knows", { ...order, vmid: 7 }, /vmid/],
    ["has a digest that is none", { ...order, digest: "latest" }, /digest/],
  ];
  for (const [what, value, says] of wrong)
    it(`is refused when it ${what}`, () => {
      assert.throws(
        () => readBakeOrder(asVariable(value)),
        (error) => error instanceof UserErrors && says.test(error.message),
      );
    });
});

describe("the steps of an image with which a run has nothing to do", () => {
  it("ask nobody, need no token and no key, and say which template it is", async () => {
    const nobody = { stop: new AbortController().signal } as StepContext;
    const said = { image: "storage-v1.2.0", digest: order.digest, vmid: 9100, host: "pve1", uuid: "" };
    const image = templateNameOf(order.definition);
    const never = { EVERGREEN_DUE: "never" };
    assert.deepEqual(await verbs.bake?.(nobody, { ...asVariable(order), ...never }), { ...said, image });
    const builder = { stack: "evergreen/dev", version: "0.1.0" };
    const proof = { bake: order, uuid: "", vmid: 9101, records: "records", builder };
    const asked = { EVERGREEN_PROOF: JSON.stringify(proof), ...never };
    assert.deepEqual(await verbs.prove?.(nobody, asked), { ...said, image });
  });

  it("are asked for the token in any other case", async () => {
    const nobody = { stop: new AbortController().signal } as StepContext;
    for (const due of [{}, { EVERGREEN_DUE: "2026-08-01T00:00:00.000Z" }])
      await assert.rejects(
        async () => verbs.bake?.(nobody, { ...asVariable(order), ...due }),
        /EVERGREEN_BAKE_API_TOKEN is not set/,
      );
  });
});

describe("the token of bakes", () => {
  const secret = "22222222-3333-4444-5555-666666666666";
  const environment = {
    PROXMOX_VE_ENDPOINT: "https://pve.example:8006",
    PROXMOX_VE_API_TOKEN: "evergreen@pve!rollout=11111111-2222-3333-4444-555555555555",
  };

  it("has to be there: that of rollouts is never taken in its place", () => {
    assert.throws(
      () => connectToBake(environment),
      (error) => error instanceof UserError && error.message.includes("EVERGREEN_BAKE_API_TOKEN is not set"),
    );
  });

  it("is checked as any other, and hidden", async () => {
    assert.throws(
      () => connectToBake({ ...environment, EVERGREEN_BAKE_API_TOKEN: "secret" }),
      /EVERGREEN_BAKE_API_TOKEN has not the form/,
    );
    const pve = connectToBake({ ...environment, EVERGREEN_BAKE_API_TOKEN: `evergreen@pve!bake=${secret}` });
    assert.ok(!redact(`only ${secret}`).includes(secret));
    await pve.close();
  });
});
