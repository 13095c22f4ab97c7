import { isAgentSilent } from "../../clients/proxmox/agent.ts";
import { ProxmoxError } from "../../clients/proxmox/errors.ts";
import { DeadlineError } from "../../runtime/deadline.ts";

/** The node cannot be changed now. It keeps its registries, and the next update asks it again. */
export class NotNow extends Error {
  /** It was told to restart RKE2, and nothing says that this is over. */
  readonly mayRestart: boolean;

  constructor(why: string, mayRestart = false) {
    super(why);
    this.mayRestart = mayRestart;
  }
}

/** A guest or a host that does not answer now is no reason to keep the rest of the pool from being repaired. */
export async function askNow<T>(ask: () => Promise<T>): Promise<T> {
  return await ask().catch((error: unknown) => {
    if (error instanceof DeadlineError) throw new NotNow(error.problem.where);
    if (!(error instanceof ProxmoxError)) throw error;
    throw new NotNow(isAgentSilent(error) ? "its guest agent does not answer" : error.message);
  });
}
