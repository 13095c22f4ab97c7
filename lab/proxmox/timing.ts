import type { Profile } from "../types.ts";

/** Waits that Proxmox VE has built in, in milliseconds. They do not depend on the hardware. */
export interface Timing {
  /** A config lock or storage lock is given up after this. Real: 10 s. */
  lockWait: number;
  /** The config locks of source and target of a clone. Real: 1 s. */
  cloneLockWait: number;
  /** How long a 401 is held back. Real: 3 s. */
  authDelay: number;
  /** How long an agent call waits for an agent that does not answer. Real: 3 s. */
  agentWait: number;
  /** How often the statistics behind cluster/resources and pool members are renewed; 0: always fresh. Real: 10 s. */
  statusInterval: number;
  /** Length of one second of a `timeout` parameter. Real: 1000. */
  second: number;
  /** From the answer with the UPID until the new process does its first check. */
  fork: number;
  /** Between the end of a reboot task and the VM's start. */
  restartDelay: number;
  /** Between the end of a task that asks HA for something and its own task that does it. */
  ha: number;
}

const real: Timing = {
  lockWait: 10_000,
  cloneLockWait: 1000,
  authDelay: 3000,
  agentWait: 3000,
  statusInterval: 10_000,
  second: 1000,
  fork: 20,
  restartDelay: 1000,
  ha: 8000,
};

/** A profile's waits: the real ones, and a twentieth of them (a tenth for locks) for `fast`. */
export function timingOf(profile: Profile): Timing {
  if (profile.name !== "fast") return { ...real };
  return {
    lockWait: 1000,
    cloneLockWait: 100,
    authDelay: 150,
    agentWait: 150,
    statusInterval: 200,
    second: 1000,
    fork: 2,
    restartDelay: 50,
    ha: 400,
  };
}
