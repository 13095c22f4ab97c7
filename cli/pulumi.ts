import { toolchain } from "../tools/index.ts";
import { exec } from "./exec.ts";
import { fail } from "./report.ts";
import { stackOf } from "./stack.ts";

/** `npx pulumi ...`: the real CLI with the environment of this project. */
export async function main(args: readonly string[]): Promise<void> {
  try {
    const tools = await toolchain({ parts: ["engine"] });
    exec(tools.pulumi, args, tools.environment({}, stackOf(args, tools.pulumiHome) ?? ""));
  } catch (error) {
    fail(error);
  }
}
