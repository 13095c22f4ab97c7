import { toolchain } from "../tools/index.ts";
import { beforeUpdate } from "./before-update.ts";
import { exec } from "./exec.ts";
import { fail } from "./report.ts";
import { stackOf } from "./stack.ts";

/** `npx pulumi ...`: the real CLI with the environment of this project. */
export async function main(args: readonly string[]): Promise<void> {
  try {
    const tools = await toolchain({ parts: ["engine"] });
    const stack = stackOf(args, tools.pulumiHome) ?? "";
    const environment = tools.environment({}, stack);
    await beforeUpdate(args, stack, environment);
    exec(tools.pulumi, args, environment);
  } catch (error) {
    fail(error);
  }
}
