import assert from "node:assert/strict";
import { DeadlineError } from "../../src/runtime/deadline.ts";
import type { StepContext } from "../../src/steps/context.ts";
import type { SlotInput } from "../../src/steps/input.ts";
import { readImage } from "../../src/steps/node/image.ts";
import { ImageFault } from "../../src/steps/node/verdict.ts";
import type { VmConfig } from "../../src/clients/proxmox/vms.ts";
import { fakeProxmox, type Answer } from "../clients/proxmox/fake.ts";

describe("what a guest says of its image", () => {
  const spec = { image: "ubuntu-24.04-rke2-v1.0.0", rke2: "v1.34.4+rke2r1" };
  const facts = { ...spec, kernel: "6.8.0" };
  const said: Answer = { data: { content: JSON.stringify(facts) } };
  // As QEMU 8 and QEMU 6 say it.
  const refusals = {
    "not allowed": "Agent error: Command guest-file-open has been disabled: the command is not allowed",
    disabled: "Agent error: The command guest-file-open has been disabled for this instance",
    frozen: "Agent error: Command guest-file-open has been disabled: the agent is in frozen state",
  };

  /** Reads it of an agent that answers so. @returns what was read, or why not */
  async function read(answer: (count: number) => Answer): Promise<unknown> {
    await using pve = await fakeProxmox((_, count) => answer(count));
    const context = { pve: pve.client, stop: new AbortController().signal } as StepContext;
    const input = { node: "demo-workers-0-0a1b2c3d", spec, site: { timeouts: { agent: 0.5 } } } as SlotInput;
    const vm = { vmid: 1100, host: "pve1" } as VmConfig;
    return await readImage(context, input, vm).catch((error: unknown) => error);
  }
  const refuses = (reason: string): Answer => ({ status: 500, reason });

  for (const is of ["not allowed", "disabled"] as const)
    it(`is the image's fault when its agent has file commands ${is}, and names the lists of the agent`, async () => {
      const error = await read(() => refuses(refusals[is]));
      assert.ok(error instanceof ImageFault, String(error));
      assert.match(error.problem.todo, /off block-rpcs \(before QEMU 8: blacklist\).* or put them on allow-rpcs$/);
    });

  it("is waited for while a backup has frozen the guest", async () => {
    assert.deepEqual(await read((count) => (count < 2 ? refuses(refusals.frozen) : said)), facts);
  });

  it("is not the image's fault when the guest stays frozen, and is when its agent stays silent", async () => {
    const frozen = await read(() => refuses(refusals.frozen));
    assert.ok(frozen instanceof DeadlineError && !(frozen instanceof ImageFault), String(frozen));
    assert.match(frozen.message, /frozen: a backup or a snapshot/);
    const silent = await read(() => refuses("QEMU guest agent is not running"));
    assert.ok(silent instanceof ImageFault, String(silent));
  });
});
