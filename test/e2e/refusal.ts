import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Ran, Site } from "./site.ts";

/** What an operator has to read: what is wrong, where, and what to do. */
export interface Message {
  what: RegExp;
  where: RegExp;
  todo: RegExp;
}

/** Asserts that a message stands in an output with its three parts together. */
export function says(output: string, { what, where, todo }: Message): void {
  const parts = output.matchAll(/^(.*)\n\s*where: (.*(?:\n {8,}.*)*)\n\s*do: {4}(.*)$/gm);
  const said = [...parts].some(([, a = "", b = "", c = ""]) => what.test(a) && where.test(b) && todo.test(c));
  assert.ok(said, `${what} at ${where}, to do: ${todo}, is not said in:\n${output}`);
}

/** Everything that a refusal must leave as it was. */
async function remembered(site: Site): Promise<unknown> {
  const file = join(site.lab.directory, "state", ".pulumi", "stacks", "evergreen", "dev.json");
  const { checkpoint } = JSON.parse(await readFile(file, "utf8")) as {
    checkpoint: { latest?: { resources?: { type: string }[]; pending_operations?: unknown } };
  };
  const { vms, nodes } = await site.lab.status;
  return {
    // The stack itself comes with the first attempt.
    resources: (checkpoint.latest?.resources ?? []).filter(({ type }) => type !== "pulumi:pulumi:Stack"),
    pending: checkpoint.latest?.pending_operations,
    vms: vms
      .map(({ vmid, name, running, tags }) => ({ vmid, name, running, tags }))
      .toSorted((a, b) => a.vmid - b.vmid),
    // Whether they are Ready changes by itself: of a node that lost its VM it is known 10 s later.
    nodes: nodes.map(({ name, schedulable }) => ({ name, schedulable })),
  };
}

/** Requests that change something in the data centre. */
async function writes(site: Site): Promise<Record<string, number>> {
  const { requests } = await site.lab.status;
  return Object.fromEntries(Object.entries(requests.byEndpoint).filter(([endpoint]) => !endpoint.startsWith("GET ")));
}

/**
 * Runs `pulumi up`, or what is given, which must be refused: with these messages, before anything was changed, and
 * without a trace in the state.
 */
export async function refused(
  site: Site,
  messages: readonly Message[],
  environment: NodeJS.ProcessEnv = {},
): Promise<string> {
  return await refusedBy(site, messages, () =>
    site.pulumi(["up", "--yes", "--skip-preview", "--stack", "dev"], environment),
  );
}

/** The same of any command. */
export async function refusedBy(
  site: Site,
  messages: readonly Message[],
  command: () => Promise<Ran>,
): Promise<string> {
  const before = await remembered(site);
  const written = await writes(site);
  const ran = await command();
  assert.notEqual(ran.code, 0, `it was not refused:\n${ran.output}`);
  assert.notEqual(ran.code, null, ran.output);
  for (const message of messages) says(ran.output, message);
  assert.doesNotMatch(ran.output, /^\s+at .*\.ts:\d+/m, "a refusal is no crash");
  assert.deepEqual(await remembered(site), before);
  assert.deepEqual(await writes(site), written);
  return ran.output;
}
