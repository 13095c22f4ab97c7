/** Shows the state of the lab on a terminal while a command runs in it. */
import { setTimeout as delay } from "node:timers/promises";
import type { LabEvent, LabStatus } from "../../lab/control.ts";
import type { Lab } from "../../lab/lab.ts";
import type { Progress } from "./progress.ts";

/** Interval between two polls of the lab, in milliseconds. */
const every = 250;

/** Shows events and state of the lab until `work` has ended. */
export async function showWhile<T>(lab: Lab, progress: Progress, title: string, work: () => Promise<T>): Promise<T> {
  const over = new AbortController();
  const shown = show(lab, progress, title, over.signal);
  try {
    return await work();
  } finally {
    over.abort();
    await shown;
    progress.show([]);
  }
}

async function show(lab: Lab, progress: Progress, title: string, signal: AbortSignal): Promise<void> {
  const began = performance.now();
  let last = (await lab.events().catch(() => [])).at(-1)?.number ?? 0;
  for (;;) {
    // A failed poll must not end the work that is shown.
    const events = await lab.events(last).catch(() => []);
    for (const event of events) {
      last = event.number;
      if (isNews(event)) progress.note(event.text);
    }
    const status = await lab.status.catch(() => undefined);
    if (status) progress.show(picture(status, `${title}, ${((performance.now() - began) / 1000).toFixed(0)} s`));
    if (signal.aborted) return;
    await delay(every, undefined, { signal }).catch(() => undefined);
  }
}

function isNews({ kind, text }: LabEvent): boolean {
  if (kind === "vm") return /(created|destroyed|by hand)$/.test(text);
  if (kind === "node") return /(joined|left|off)$/.test(text);
  return true;
}

/** The state of the cluster as lines: VMs, nodes, workload and prober. */
export function picture(status: LabStatus, title: string): string[] {
  const nodes = new Map(status.nodes.map((node) => [node.name, node]));
  const vms = status.vms.filter((vm) => !vm.template && vm.tags.includes("evergreen"));
  const width = Math.max(0, ...vms.map(({ name }) => name.length));
  const rows = vms.map((vm) => {
    const node = nodes.get(vm.name);
    const state = !node ? "" : !node.ready ? "not ready" : node.schedulable ? "ready" : "leaving";
    return `  ${vm.name.padEnd(width)}  ${vm.running ? "running" : "off    "}  ${state}`;
  });
  const { load, probe, evicted, violations } = status;
  const pods = load ? `${load.ready}/${load.wanted} pods ready, ${evicted} evicted` : "no workload yet";
  return [
    title,
    ...rows,
    `  ${pods}; prober ${probe.requests} requests, ${probe.failed} failed; ${violations.length} violations`,
  ];
}
