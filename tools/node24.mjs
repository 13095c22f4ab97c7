// Preloaded by `--import`, in plain JavaScript that Node 18 understands: runs the same command line under the project's
// own Node 24 when this one cannot strip types. A bare `pulumi` starts whatever Node stands first on PATH.
import { isNewEnough, keepCompiled } from "./own-node.mjs";

if (!isNewEnough()) {
  const { handOver } = await import("./hand-over.mjs");
  handOver([...process.execArgv, ...process.argv.slice(1)]);
  // The program must not go on here.
  await new Promise(() => {});
}

keepCompiled();
