import assert from "node:assert/strict";
import { UserErrors } from "../../src/runtime/errors.ts";
import { poolSpecs, type Config } from "../../src/config/config.ts";

/** The images that the configurations name, and their RKE2 versions. */
export const IMAGES = new Map([
  ["ubuntu-24.04-rke2-v1.0.0", "v1.34.4+rke2r1"],
  ["ubuntu-24.04-rke2-v1.1.0", "v1.34.4+rke2r1"],
]);

/** Control plane configuration, with changes applied. */
export function control(changes: object = {}) {
  return { image: "ubuntu-24.04-rke2-v1.1.0", vmIds: { first: 100, last: 199 }, ...changes };
}

/** The smallest valid configuration, with changes to its pool and to its top level. */
export function minimal(pool: object = {}, top: object = {}) {
  return {
    cluster: "demo",
    site: { registrationAddress: "10.0.0.5", hosts: ["pve1"], storage: "local" },
    controlPlane: control(),
    pools: [
      { name: "workers", image: "ubuntu-24.04-rke2-v1.0.0", slots: 4, vmIds: { first: 200, last: 299 }, ...pool },
    ],
    ...top,
  };
}

/** The agent pool of a configuration. */
export function agents(config: Config) {
  const spec = poolSpecs(config, IMAGES).find((one) => one.role === "agent");
  assert.ok(spec);
  return spec;
}

/** The problems for which a configuration is refused. */
export function refused(attempt: () => unknown): UserErrors["problems"] {
  try {
    attempt();
  } catch (error) {
    assert.ok(error instanceof UserErrors, String(error));
    return error.problems;
  }
  return assert.fail("it was not refused");
}

/** The refusal as an error message. */
export function refusal(attempt: () => unknown): string {
  return new UserErrors(refused(attempt)).message;
}
