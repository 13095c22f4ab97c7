import { mkdtemp } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { labBinaries } from "../../../cli/lab.ts";
import { Deadline } from "../../../src/runtime/deadline.ts";
import { type Lab, startLab } from "../../../lab/lab.ts";
import { identify } from "../../../lab/processes.ts";
import type { LabOptions } from "../../../lab/site.ts";
import { toolchain } from "../../../tools/index.ts";
import { Operator } from "./operator.ts";

/** What a test's lab is started with; each test file has a prefix of its own. */
export async function labOptions(prefix: string, more: Partial<LabOptions> = {}): Promise<LabOptions> {
  const binaries = labBinaries(await toolchain({ parts: ["lab"], quiet: true }));
  const directory = join(await mkdtemp(join(tmpdir(), "evergreen-test-")), "lab");
  const owner = identify(process.pid);
  return { name: "test", prefix, directory, profile: "fast", version: "8.4", binaries, load: "asked", owner, ...more };
}

/** A lab with a cluster of one server and some workers, made by hand. */
export async function startCluster(options: LabOptions, workers: number): Promise<{ lab: Lab; operator: Operator }> {
  const lab = await startLab(options);
  const operator = new Operator(lab);
  const server = { vmid: 1000, pool: "servers", slot: 0 } as const;
  await operator.createVm(server);
  await operator.foundCluster(server);
  await Promise.all(
    Array.from({ length: workers }, async (_, slot) => {
      const order = { vmid: 1100 + slot, pool: "workers", slot } as const;
      const worker = await operator.createVm(order);
      await operator.joinAgent(order, server.vmid);
      await operator.ready(worker);
    }),
  );
  return { lab, operator };
}

/** Puts the workload on the cluster and waits until all of it serves and is probed. */
export async function startLoad(lab: Lab, options: { replicas?: number; maxUnavailable?: number } = {}): Promise<void> {
  await lab.call("POST /load", options);
  await loadServes(lab);
}

/** Waits until all of the workload serves and is probed; what was before that is forgotten. */
export async function loadServes(lab: Lab): Promise<void> {
  await new Deadline("the workload", 120).poll(100, async () => {
    const { load, probe } = await lab.status;
    return load && load.ready === load.wanted && probe.workload.requests > 0 ? true : undefined;
  });
  await lab.call("POST /probe/reset", undefined);
  await lab.call("POST /watcher/reset", undefined);
}
