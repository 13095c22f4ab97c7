import assert from "node:assert/strict";
import { destroyVm } from "../../../src/clients/proxmox/destroy.ts";
import { TaskError } from "../../../src/clients/proxmox/task.ts";
import { fakeProxmox, upid, type Answer, type Seen } from "./fake.ts";

const vm = { vmid: 101, name: "demo-workers-0-0a1b2c3d", uuid: "4c2a5f10-1111-4222-8333-944455566677", tags: [] };
const missing = "Configuration file 'nodes/pve1/qemu-server/101.conf' does not exist";
const taken: Answer = {
  status: 400,
  reason: "Parameter verification failed.",
  errors: { vmid: "VM 101 already exists" },
};
const free: Answer = { data: "101" };

/** A Proxmox in which an earlier destroy of the VM is at work, or somebody moved it. */
function destroying(answer: Answer, exit: string, number: Answer): (seen: Seen) => Answer {
  return ({ method, path }) => {
    if (method === "DELETE") return answer;
    if (path === "/cluster/nextid") return number;
    if (path.endsWith("/log")) return { data: [] };
    if (path.endsWith("/status")) return { data: { status: "stopped", exitstatus: exit } };
    return { data: { name: vm.name, smbios1: `uuid=${vm.uuid}`, digest: "d" } };
  };
}

describe("the destruction of a VM", () => {
  const refused: Answer = { status: 500, reason: missing };
  const cases: [string, Answer, string, Answer, RegExp | undefined][] = [
    ["is done when its task ends well", { data: upid }, "OK", free, undefined],
    ["is done when an earlier one was first and its task fails", { data: upid }, missing, free, undefined],
    ["is done when an earlier one was first and it is refused", refused, "OK", free, undefined],
    ["fails when its task fails and the number is taken", { data: upid }, missing, taken, /does not exist/],
    ["fails when it is refused and the number is taken", refused, "OK", taken, /does not exist/],
    [
      "fails when whether the number is free cannot be asked",
      { data: upid },
      missing,
      { status: 403, reason: "no" },
      /403/,
    ],
  ];
  for (const [title, answer, exit, number, failure] of cases) {
    it(title, async () => {
      await using pve = await fakeProxmox(destroying(answer, exit, number));
      const destroyed = destroyVm(pve.client, "pve1", vm);
      if (failure) await assert.rejects(destroyed, failure);
      else await destroyed;
    });
  }

  it("is not asked for while somebody protects the VM", async () => {
    const answers = destroying({ data: upid }, "OK", free);
    await using pve = await fakeProxmox((seen) => {
      const isConfig = seen.path.endsWith("/config");
      return isConfig
        ? { data: { name: vm.name, smbios1: `uuid=${vm.uuid}`, digest: "d", protection: 1 } }
        : answers(seen);
    });
    await assert.rejects(destroyVm(pve.client, "pve1", vm), /protected in Proxmox.*--protection 0/s);
    assert.ok(pve.seen.every(({ method }) => method !== "DELETE"));
  });

  it("tells how its task ended when the VM is still there", async () => {
    await using pve = await fakeProxmox(destroying({ data: upid }, "unable to remove volume", taken));
    await assert.rejects(destroyVm(pve.client, "pve1", vm), TaskError);
  });
});
