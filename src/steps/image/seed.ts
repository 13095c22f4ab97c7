/** The CD of a bake, from the definition's folder and the shell, if they still are what the order says. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { imageOf, macOf, type BakeOrder } from "../../domain/images/bake.ts";
import { cidata } from "../../domain/images/cidata.ts";
import { digestOf, type ImageFile } from "../../domain/images/definition.ts";
import { metaData, networkConfig, userData } from "../../domain/images/user-data.ts";
import { readBakeShell, shellDigests } from "../../runtime/bake-shell.ts";
import { messageOf, UserError } from "../../runtime/errors.ts";

/** @throws UserError when a file cannot be read, or is another one than when the bake was planned */
export function readSeed(order: BakeOrder): Uint8Array {
  const shell = withReason(order, () => readBakeShell(order.shell));
  if (digestOf(order.definition, shellDigests(shell)) !== order.digest) throw changed(order, order.shell);
  const { files, scripts } = order.definition;
  const read = (folder: string, file: ImageFile): [string, Uint8Array] => [
    file.sha256,
    withReason(order, () => readFileSync(join(order.folder, folder, file.path))),
  ];
  const contents = new Map([
    ...files.map((file) => read("files", file)),
    ...scripts.map((file) => read("scripts", file)),
  ]);
  const { address } = order.place;
  return withReason(order, () =>
    cidata({
      "user-data": userData({ definition: order.definition, sources: order.sources, shell, contents }),
      "meta-data": metaData(`bake-${order.vmid}-${order.digest.slice(0, 12)}`, "bake"),
      "network-config": networkConfig({ mac: macOf(order), ...(address === undefined ? {} : { address }) }),
    }),
  );
}

function withReason<T>(order: BakeOrder, work: () => T): T {
  try {
    return work();
  } catch (error) {
    throw changed(order, order.folder, messageOf(error));
  }
}

function changed(order: BakeOrder, where: string, why?: string): UserError {
  return new UserError({
    what: `what ${imageOf(order)} is made of has changed since the bake was planned${why === undefined ? "" : `: ${why}`}`,
    where,
    todo: "run it again: it is planned anew",
  });
}
