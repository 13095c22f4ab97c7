import { UserError } from "../runtime/errors.ts";
import type { Kubernetes } from "../clients/kubernetes/client.ts";
import { readClocks } from "../clients/kubernetes/servers.ts";

/** Seconds that the clocks of two servers may be apart. */
const tolerance = 300;

/**
 * Requires that the clocks of the servers agree. Any of them dates join tokens, soaks and retention times, and any other
 * one reads them: with one an hour off, a token has expired before a node can use it, a soak is over at once, and the
 * VM with the only copy of some data is overdue.
 * @throws UserError that names each server's clock
 */
export async function requireSameClocks(client: Kubernetes): Promise<void> {
  const clocks = await readClocks(client);
  const ahead = clocks.map((one) => one.ahead);
  if (clocks.length < 2 || Math.max(...ahead) - Math.min(...ahead) <= tolerance) return;
  throw new UserError({
    what: `the clocks of the servers are ${Math.max(...ahead) - Math.min(...ahead)} s apart, and at most ${tolerance} s are tolerated`,
    where: `by the clock of this machine: ${clocks.map(wordsOf).join("; ")}`,
    todo: "let the one that is wrong reach its time servers, and set its clock at once (chronyc makestep), then run again. Nothing was changed, and no image is judged",
  });
}

function wordsOf({ name, ahead }: { name: string; ahead: number }): string {
  return ahead === 0 ? `${name} is right` : `${name} is ${Math.abs(ahead)} s ${ahead < 0 ? "behind" : "ahead"}`;
}
