/** The key that signs records, as a process gets it. */
import { variables } from "../domain/model/step-environment.ts";
import { signingKeyOf, type SigningKey } from "./bundle.ts";

/** @returns undefined when there is no key: records bear no signature then @throws UserError when it is none */
export function readSigningKey(environment: Record<string, string | undefined>): SigningKey | undefined {
  const pem = environment[variables.imageKey] ?? "";
  return pem === "" ? undefined : signingKeyOf(pem, `the environment, ${variables.imageKey}`);
}
