// Builds the fake tool in a process of its own: build-one.ts SCRATCH
import { join } from "node:path";
import { Store } from "../../tools/store.ts";
import { tool } from "./fakes.ts";

const scratch = process.argv[2] ?? "";
const go = { path: join(scratch, "bin", "go"), version: "1.99.0" };
console.log(await new Store(join(scratch, "cache"), false, scratch).program(tool, go));
