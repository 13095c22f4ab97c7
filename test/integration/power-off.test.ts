import assert from "node:assert/strict";
import type { VmConfig } from "../../src/clients/proxmox/vms.ts";
import { defaultTimeouts, type Site } from "../../src/domain/model/step-environment.ts";
import { powerOff, switchOff } from "../../src/steps/node/power-off.ts";
import { fakeProxmox, upid } from "../clients/proxmox/fake.ts";

const proved: VmConfig = {
  vmid: 1100,
  host: "pve1",
  name: "demo-workers-0-0a1b2c3d",
  uuid: "6b0124f9-0000-4000-8000-000000000100",
  tags: [],
  template: false,
  onBoot: true,
  digest: "d",
};
const site = { timeouts: defaultTimeouts } as Site;
const fence = { check: () => Promise.resolve(), requireOwned: () => Promise.resolve() };

describe("turning a VM off", () => {
  /** @returns the writes, in their order. @param name what it is called by the time of the shutdown */
  const turnedOff = async (told: { running: boolean; onBoot?: boolean }, runs: boolean, name = proved.name) => {
    let isOn = runs;
    await using pve = await fakeProxmox(({ method, path }) => {
      if (path.endsWith("/status/shutdown")) isOn = false;
      if (path.endsWith("/status/current")) return { data: { status: isOn ? "running" : "stopped" } };
      if (path.endsWith("/status")) return { data: { status: "stopped", exitstatus: "OK" } };
      if (method === "GET") return { data: { name, smbios1: `uuid=${proved.uuid}`, digest: "d" } };
      return { data: path.endsWith("/config") ? null : upid };
    });
    const { signal } = new AbortController();
    const run = { pve: pve.client, id: "retire-1", stop: signal, mayTearDown: false, previous: "" };
    const writes = () =>
      pve.seen
        .filter(({ method }) => method !== "GET")
        .map(({ path, parameters }) => [path.split("/").at(-1), parameters.digest ?? parameters.forceStop]);
    await powerOff(run, { ...proved, onBoot: told.onBoot ?? true }, told.running, { site, fence }).catch(
      (error: unknown) => {
        throw new Error(`${String(error)} after ${JSON.stringify(writes())}`);
      },
    );
    return writes();
  };
  const [config, shutdown] = [
    ["config", "d"],
    ["shutdown", "1"],
  ];

  it("lets it start with its host no more, with the digest of what was proved, and then shuts it down", async () => {
    assert.deepEqual(await turnedOff({ running: true }, true), [config, shutdown]);
  });

  it("only lets it start with its host no more when it is off", async () => {
    assert.deepEqual(await turnedOff({ running: false }, false), [config]);
  });

  it("shuts it down also when a start was still under way when it was looked at", async () => {
    assert.deepEqual(await turnedOff({ running: false }, true), [config, config, shutdown]);
  });

  it("does not shut it down when it has become another one meanwhile", async () => {
    await assert.rejects(
      turnedOff({ running: false }, true, "web"),
      /is not demo-workers-0.* after \[\["config","d"\]\]/s,
    );
  });

  it("touches none of which nobody has recorded the uuid, and calls none of them off that runs", async () => {
    await using pve = await fakeProxmox(() => ({ data: null }));
    const run = {
      pve: pve.client,
      id: "retire-1",
      stop: new AbortController().signal,
      mayTearDown: false,
      previous: "",
    };
    const vm = { ...proved, status: "unknown" as const, pool: "nodes" };
    const off = (running: boolean) =>
      switchOff(vm, running, { ...proved, uuid: undefined }, { context: run, fence, input: { cluster: "demo", site } });
    await assert.rejects(off(true), /it runs, and nobody recorded its SMBIOS uuid/);
    await off(false);
    assert.deepEqual(pve.seen, []);
  });

  it("does nothing to one that is off and stays so", async () => {
    assert.deepEqual(await turnedOff({ running: false, onBoot: false }, false), []);
  });
});
