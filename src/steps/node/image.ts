import { Deadline, DeadlineError } from "../../runtime/deadline.ts";
import { guest } from "../../../images/contract.ts";
import { awaitAgent, isFrozen, isRefusedByAgent, readFile } from "../../clients/proxmox/agent.ts";
import type { ProxmoxError } from "../../clients/proxmox/errors.ts";
import type { VmConfig } from "../../clients/proxmox/vms.ts";
import type { SlotInput } from "../input.ts";
import type { StepContext } from "../context.ts";
import { ImageFault, NeverRegistered } from "./verdict.ts";

/** What an image states about itself. */
export interface ImageFacts {
  image: string;
  rke2: string;
  kernel: string;
}

/**
 * Waits for the guest agent by reading the image's facts, and checks that they are what was asked for.
 * @throws ImageFault when the agent never answers, or the image is another one
 */
export async function readImage(context: StepContext, input: SlotInput, vm: VmConfig): Promise<ImageFacts> {
  const deadline = new Deadline(`the guest agent of ${input.node}`, input.site.timeouts.agent, context.stop);
  let frozen = false;
  const ask = () =>
    readFile(context.pve, vm, guest.image).catch((error: unknown) => {
      frozen = isFrozen(error);
      throw error;
    });
  const text = await awaitAgent(deadline, ask).catch((error: unknown) => {
    // A backup that freezes the guest is not the image's fault.
    if (error instanceof DeadlineError && !frozen) throw new NeverRegistered(error.problem, { cause: error });
    if (isRefusedByAgent(error)) throw unreadable(input, error);
    throw error;
  });
  const facts = parse(text.toString());
  const wrong = (["image", "rke2"] as const).filter((field) => facts[field] !== input.spec[field]);
  if (wrong.length === 0) return facts;
  throw new ImageFault({
    what: `the image is not what was asked for: ${wrong.map((field) => `${field} is ${facts[field]}, expected ${input.spec[field]}`).join("; ")}`,
    where: `${guest.image} on ${input.node}`,
    todo: "check the template's name and tags against what was baked into it",
  });
}

function parse(text: string): ImageFacts {
  try {
    const { image = "missing", rke2 = "missing", kernel = "missing" } = JSON.parse(text) as Partial<ImageFacts>;
    return { image, rke2, kernel };
  } catch {
    return { image: "unreadable", rke2: "unreadable", kernel: "unreadable" };
  }
}

function unreadable(input: SlotInput, cause: ProxmoxError): ImageFault {
  return new ImageFault(
    {
      what: `the guest does not say what image it is: ${cause.reason}`,
      where: `${guest.image} on ${input.node}`,
      todo: /disabled|blocked/i.test(cause.reason)
        ? `let the guest agent of the template ${input.spec.image} open, read, write and close files: take guest-file-* off block-rpcs (before QEMU 8: blacklist) in /etc/qemu/qemu-ga.conf, or put them on allow-rpcs`
        : `check that the template ${input.spec.image} keeps to docs/production.md, section 4, and has qemu-guest-agent`,
    },
    { cause },
  );
}
