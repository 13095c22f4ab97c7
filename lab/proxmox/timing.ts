import type { Profile } from "../types.ts";

/** Waits that are built into Proxmox VE, in milliseconds. They do not depend on the hardware. */
export interface Timing {
  /** Until the wait for a config lock or storage lock times out. Real: 10 s. */
  lockWait: number;
  /** The same for the config locks of source and target of a clone. Real: 1 s. */
  cloneLockWait: number;
  /** Delay of a 401 answer. Real: 3 s. */
  authDelay: number;
  /** How long an agent call waits for an agent that does not answer. Real: 3 s. */
  agentWait: number;
  /** Interval of the statistics behind cluster/resources and pool members; 0: always current. Real: 10 s. */
  statusInterval: number;
  /** Length of a second of a `timeout` parameter. Real: 1000. */
  second: number;
  /** From the answer with the UPID until the new process makes its first check. */
  fork: number;
  /** Between the end of a reboot task and the VM's start. */
  restartDelay: number;
  /** Between the end of a task that requests something from HA and HA's own task for it. */
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

/** A profile's waits: the real ones; for `fast` about a twentieth of them (a tenth for locks). */
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
