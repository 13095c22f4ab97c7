import { InputPropertiesError } from "@pulumi/pulumi";
import { z } from "zod";
import { schemaProblems } from "../src/config/messages.ts";
import { problemText, type Problem } from "../src/domain/model/problem.ts";
import type { Role } from "../src/domain/model/types.ts";

/**
 * Wrong arguments of a component, all of them together, before any resource is declared. A provider for programs in
 * other languages passes each property path on; a program in this language shows the message, without a stack trace.
 */
export class ArgumentErrors extends InputPropertiesError {
  /** `RunError.isInstance` looks for this mark: the class can extend only one of the two. */
  readonly __pulumiRunError = true;

  /** @param problems `where` is the path of the argument, as a configuration has it */
  constructor(component: string, problems: readonly Problem[]) {
    const own = problems.map(({ what, where, todo }) => ({ what, where: asArgument(where), todo: asArgument(todo) }));
    super({
      message: `the arguments of ${component} cannot be used\n${own.map(problemText).join("\n")}`,
      errors: own.map(({ what, where, todo }) => ({ propertyPath: where, reason: `${what}: ${todo}` })),
    });
  }
}

/** Arguments of a component have no namespace, which the keys of a stack's configuration have. */
function asArgument(text: string): string {
  return text.replaceAll("evergreen:", "");
}

const text = z.string().min(1);
const seconds = z.int().min(1);
const vmid = z.int().min(100);
const placement = z.looseObject({
  host: text,
  template: z.looseObject({ vmid, host: text }).optional(),
  tags: z.array(text),
});
const node = z.looseObject({
  name: text,
  vmid,
  generation: z.looseObject({ id: text, spec: z.looseObject({}) }),
  vm: placement,
});
const slot = node
  .extend({ slot: z.int().min(0), creates: z.boolean(), replaces: z.array(text) })
  .refine(({ creates, vm }) => !creates || vm.template !== undefined, {
    path: ["vm", "template"],
    message: "must name the template that the new VM is cloned from",
  });
const strategy = z.looseObject({
  kind: z.enum(["blueGreen", "rolling"]),
  surge: z.int().min(0),
  maxUnavailable: z.int().min(1),
  soakSeconds: z.int().min(0),
});
const timeouts = ["agent", "join", "storage", "drain", "volumes", "shutdown", "lease", "gate", "snapshot"] as const;

/** The arguments of a pool, as far as its resources are made of them. */
function poolSchema(role: Role) {
  return z.looseObject({
    cluster: text,
    site: z.looseObject({
      registrationAddress: text,
      proxmoxPool: text,
      serverPool: text,
      timeouts: z.looseObject(Object.fromEntries(timeouts.map((name) => [name, seconds]))),
    }),
    allowDestroy: z.boolean(),
    vms: z.looseObject({
      proxmoxPool: text,
      storage: text,
      bridge: text,
      gateway: text.optional(),
      prefixLength: z.int().min(8).max(30),
      ipv6: z
        .union([
          z.looseObject({ method: z.enum(["auto", "dhcp"]) }),
          z.looseObject({ prefixLength: z.int().min(16).max(126), gateway: text.optional() }),
        ])
        .optional(),
      dnsServers: z.array(text),
    }),
    plan: z.looseObject({
      pool: text,
      role: z.literal(role),
      kind: text,
      strategy,
      slots: z.array(slot),
      leaving: z.array(text),
      kept: z.array(z.looseObject({ slot: z.int().min(0), name: text, vmid, host: text })),
      digest: text,
    }),
    ...(role === "server" ? { backup: z.looseObject({ leastBytes: z.number(), mostSeconds: z.number() }) } : {}),
  });
}

/** @throws ArgumentErrors that name every wrong argument of a pool by its path */
export function checkPoolArguments(component: string, role: Role, args: unknown): void {
  const read = poolSchema(role).safeParse(args);
  if (!read.success) throw new ArgumentErrors(component, schemaProblems(read.error, args));
}
