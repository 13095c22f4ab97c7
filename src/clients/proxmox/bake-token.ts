/** The token of bakes: that of rollouts may make no image, and that of bakes touches no node. */
import { UserError } from "../../runtime/errors.ts";
import { Proxmox } from "./client.ts";

const FORM = /^\S+@\S+!\S+=[a-zA-Z0-9-]+$/;

/** The variable with the token of bakes, `USER@REALM!ID=UUID`. */
export const BAKE_TOKEN = "EVERGREEN_BAKE_API_TOKEN";

/** @throws UserError when the variable is missing or malformed */
export function requireBakeToken(environment: Record<string, string | undefined>): string {
  const token = environment[BAKE_TOKEN] ?? "";
  if (!FORM.test(token))
    throw new UserError({
      what: token === "" ? `${BAKE_TOKEN} is not set` : `${BAKE_TOKEN} has not the form USER@REALM!ID=UUID`,
      where: "the environment: images are baked with a token of their own",
      todo: `export ${BAKE_TOKEN}='USER@REALM!ID=UUID'; docs/production.md has its rights. For the stack dev, start its lab: npx evergreen lab up`,
    });
  return token;
}

/**
 * The client with the token of bakes.
 * @throws UserError when the variable is missing or malformed
 */
export function connectToBake(environment: Record<string, string | undefined>): Proxmox {
  return Proxmox.fromEnvironment({ ...environment, PROXMOX_VE_API_TOKEN: requireBakeToken(environment) });
}
