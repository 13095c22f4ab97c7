import { asUserError } from "../src/runtime/errors.ts";
import { redact } from "../src/runtime/log.ts";

/**
 * Ends the process after a failure. An error that the user can act on prints its message of three lines and exits with
 * 1, a defect prints its stack trace and exits with 70.
 */
export function fail(error: unknown): never {
  const ours = asUserError(error);
  const text = ours ? ours.message : error instanceof Error ? (error.stack ?? error.message) : String(error);
  process.stderr.write(`${redact(text)}\n`);
  process.exit(ours ? 1 : 70);
}
