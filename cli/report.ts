import { asUserError } from "../src/runtime/errors.ts";
import { redact } from "../src/runtime/log.ts";

/** Ends the process after a failure: what the user can act on in three lines and 1, a defect with its stack and 70. */
export function fail(error: unknown): never {
  const ours = asUserError(error);
  const text = ours ? ours.message : error instanceof Error ? (error.stack ?? error.message) : String(error);
  process.stderr.write(`${redact(text)}\n`);
  process.exit(ours ? 1 : 70);
}
