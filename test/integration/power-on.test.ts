import assert from "node:assert/strict";
import { powerOn } from "../../src/steps/node/power-on.ts";
import type { VmConfig } from "../../src/clients/proxmox/vms.ts";
import { fakeProxmox, upid, type FakeProxmox } from "../clients/proxmox/fake.ts";

const config: VmConfig = {
  vmid: 1100,
  host: "pve1",
  name: "demo-workers-0-0a1b2c3d",
  uuid: "6b0124f9-0000-4000-8000-000000000100",
  tags: [],
  template: false,
  onBoot: false,
  digest: "d",
};

function vmThatIs(qmpstatus: string): Promise<FakeProxmox> {
  return fakeProxmox(({ path }) => {
    if (path.endsWith("/status/current"))
      return { data: { status: qmpstatus === "stopped" ? "stopped" : "running", qmpstatus } };
    if (path.endsWith("/status")) return { data: { status: "stopped", exitstatus: "OK" } };
    return { data: path.endsWith("/config") ? null : upid };
  });
}

const runOf = ({ client }: FakeProxmox) => ({
  pve: client,
  id: "join-1",
  stop: new AbortController().signal,
  mayTearDown: false,
  previous: "",
});

describe("turning a VM on", () => {
  for (const state of ["paused", "io-error", "suspended", "internal-error", "guest-panicked", "watchdog"]) {
    it(`says what to do, and judges nothing, when Proxmox calls its state ${state}`, async () => {
      await using pve = await vmThatIs(state);
      await assert.rejects(powerOn(runOf(pve), config, ""), (error: unknown) => {
        assert.ok(error instanceof Error);
        assert.match(error.message, new RegExp(`stands still: Proxmox calls its state ${state}`));
        return true;
      });
      assert.deepEqual(
        pve.seen.filter(({ method }) => method !== "GET"),
        [],
      );
    });
  }

  for (const [state, starts] of [
    ["running", false],
    ["inmigrate", false],
    ["save-vm", false],
    ["prelaunch", true],
    ["stopped", true],
  ] as const) {
    it(`${starts ? "starts" : "does not start"} one whose state is ${state}`, async () => {
      await using pve = await vmThatIs(state);
      await powerOn(runOf(pve), config, "");
      assert.equal(
        pve.seen.some(({ path }) => path.endsWith("/status/start")),
        starts,
      );
    });
  }

  const uid = "0f1e2d3c-4b5a-4978-8675-645342312011";
  for (const [title, tags, answer, tries] of [
    ["that lacks it", ["eg-member"], { data: null }, 1],
    ["that Proxmox has locked, not now", ["eg-member"], { status: 500, reason: "VM is locked (backup)" }, 1],
    ["that has it, not again", ["eg-member", "eg-uid-0f1e2d3c"], { data: null }, 0],
  ] as const)
    it(`gives the tag of its cluster's uid to a member that runs: to one ${title}`, async () => {
      const member = { ...config, onBoot: true, tags: [...tags] };
      const { name, uuid } = config;
      await using pve = await fakeProxmox(({ method, path }) => {
        if (path.endsWith("/status/current")) return { data: { status: "running", qmpstatus: "running" } };
        if (method === "PUT") return answer;
        return { data: { name, smbios1: `uuid=${uuid}`, tags: tags.join(";"), onboot: 1, digest: "d" } };
      });
      await powerOn(runOf(pve), member, uid);
      const written = pve.seen.filter(({ method }) => method === "PUT").map(({ parameters }) => parameters.tags);
      assert.deepEqual(written, tries === 0 ? [] : ["eg-member;eg-uid-0f1e2d3c"]);
    });
});
