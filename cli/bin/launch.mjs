// In plain JavaScript that Node 18 understands: npx starts it with whatever Node the machine has.
import { handOver } from "../../tools/hand-over.mjs";
import { isNewEnough, keepCompiled } from "../../tools/own-node.mjs";

/** Runs `main` of a module of ours, under the project's own Node 24. */
export async function launch(module) {
  if (!isNewEnough()) return handOver(process.argv.slice(1));
  keepCompiled();
  const { main } = await import(new URL(module, import.meta.url).href);
  await main(process.argv.slice(2));
}
