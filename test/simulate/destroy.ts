/** `pulumi destroy` as the engine runs it: it deletes by depth, so what nothing depends on goes first. */
import { SERVER_POOL } from "../../src/config/config.ts";
import type { MadeVm } from "./provider.ts";
import type { State } from "./state.ts";

/** What a destroy has the engine do; each tells whether it went well. */
interface Deletes {
  unguard: () => Promise<boolean>;
  /** Deletes a step, with its delete verb. */
  undo: (urn: string) => Promise<boolean>;
  destroyVm: (urn: string, vm: MadeVm) => Promise<boolean>;
  isStopping: () => boolean;
}

/**
 * Deletes all resources: the guard, and then of each kind all before the next one, agents before the servers that their
 * pools come after. What has begun ends also when another delete of its kind has failed.
 * @returns whether nothing is left
 */
export async function destroyAll(state: State, cluster: string, deletes: Deletes): Promise<boolean> {
  const { resources } = state;
  if (state.guard !== undefined && !(await deletes.unguard())) return false;
  const isServer = (urn: string) => urn.startsWith(`${cluster}-${SERVER_POOL}-`);
  for (const ofServers of [false, true])
    for (const kind of ["join", "claim", "vm"]) {
      const isNext = ([urn, { vm }]: [string, { vm?: MadeVm }]) =>
        isServer(urn) === ofServers && (kind === "vm" ? vm !== undefined : urn.endsWith(`-${kind}`));
      const deleted = [...resources]
        .filter(isNext)
        .map(async ([urn, { vm }]) =>
          deletes.isStopping() ? false : vm ? await deletes.destroyVm(urn, vm) : await deletes.undo(urn),
        );
      if (!(await Promise.all(deleted)).every(Boolean) || deletes.isStopping()) return false;
    }
  resources.clear();
  return true;
}
