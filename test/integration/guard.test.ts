import assert from "node:assert/strict";
import { defaultTimeouts } from "../../src/domain/model/step-environment.ts";
import { unguard } from "../../src/steps/verbs/guard.ts";
import type { GuardInput } from "../../src/steps/input.ts";
import type { Proxmox } from "../../src/clients/proxmox/client.ts";
import { fakeProxmox } from "../clients/proxmox/fake.ts";

const site = { registrationAddress: "10.0.0.5", proxmoxPool: "nodes", serverPool: "servers" };
const input: GuardInput = { cluster: "demo", site: { ...site, timeouts: defaultTimeouts }, allowDestroy: false };
const contextOf = (pve: Proxmox) => {
  const stop = new AbortController().signal;
  return { pve, id: "unguard-1", stop, mayTearDown: true, previous: "" };
};

describe("the guard of a cluster", () => {
  it("lets no destroy begin that the last update did not allow, and marks nothing", async () => {
    await using pve = await fakeProxmox(() => ({ data: [] }));
    const run = {
      pve: pve.client,
      id: "unguard-1",
      stop: new AbortController().signal,
      mayTearDown: true,
      previous: "",
    };
    const site = { registrationAddress: "10.0.0.5", proxmoxPool: "nodes", serverPool: "servers" };
    const input: GuardInput = { cluster: "demo", site: { ...site, timeouts: defaultTimeouts }, allowDestroy: false };
    await assert.rejects(unguard(run, input), /the cluster demo may not be destroyed/);
    assert.deepEqual(pve.seen, []);
  });

  it("lets no update mark a cluster that it keeps, as one that moves the guard to another component does", async () => {
    await using pve = await fakeProxmox(() => ({ data: [] }));
    const run = { ...contextOf(pve.client), mayTearDown: false };
    await assert.rejects(unguard(run, { ...input, allowDestroy: true }), /deleted by an update that keeps the cluster/);
    assert.deepEqual(pve.seen, []);
  });
});
