import { withOpenStack, type OpenStack } from "../src/observe/open-stack.ts";
import { toolchain } from "../tools/index.ts";

/** Does the work with a stack, in the environment that our tool chain gives it. */
export async function withStack<T>(
  stack: string,
  work: (site: OpenStack, environment: NodeJS.ProcessEnv) => Promise<T>,
): Promise<T> {
  const tools = await toolchain({ quiet: true, parts: ["engine"], stack, plugins: false });
  const environment = tools.environment({}, stack);
  return await withOpenStack(stack, environment, (site) => work(site, environment));
}
