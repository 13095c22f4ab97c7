/** What the image's unit does when a server is told to step down, or to resume serving. */
import { messageOf } from "../../src/runtime/errors.ts";
import type { GuestContext } from "./context.ts";
import { paths } from "./join.ts";

/** Carries out the order and confirms it by repeating it. Where no server runs, there is nothing to hand over. */
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
