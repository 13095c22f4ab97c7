/** What the image's unit does when a server is told that it will leave, or that it stays after all. */
import { messageOf } from "../../src/runtime/errors.ts";
import type { GuestContext } from "./context.ts";
import { paths } from "./join.ts";

/** Carries the order out and says so by repeating it. Where no server runs, nothing has to be handed over. */
export async function obeyYield({ files, log, machine, rack }: GuestContext): Promise<void> {
  const order = files.text(paths.yield).trim();
  const server = [...rack.clusters.values()].flatMap(({ servers }) => servers.get(machine.vmid) ?? [])[0];
  try {
    if (order === "") server?.serveAgain();
    else await server?.yield();
    files.put(paths.yielded, `${order}\n`);
  } catch (error) {
    log.say("evergreen-yield", `the order could not be carried out: ${messageOf(error)}`);
  }
}
