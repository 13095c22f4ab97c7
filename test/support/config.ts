import assert from "node:assert/strict";
import { UserErrors } from "../../src/runtime/errors.ts";
import { poolSpecs, type Config } from "../../src/config/config.ts";

/** Images that the configurations name, and their RKE2 versions. */
export const IMAGES = new Map([
  ["ubuntu-24.04-rke2-v1.0.0", "v1.34.4+rke2r1"],
  ["ubuntu-24.04-rke2-v1.1.0", "v1.34.4+rke2r1"],
]);

/** A control plane, with changes. */
export function control(changes: object = {}) {
  return { image: "ubuntu-24.04-rke2-v1.1.0", vmIds: { first: 100, last: 199 }, ...changes };
}

/** The smallest configuration that is right, with changes of its pool and of the whole. */
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

/** The pool of agents that is made of a configuration. */
export function agents(config: Config) {
  const spec = poolSpecs(config, IMAGES).find((one) => one.role === "agent");
  assert.ok(spec);
  return spec;
}

/** What a configuration is refused for. */
export function refused(attempt: () => unknown): UserErrors["problems"] {
  try {
    attempt();
  } catch (error) {
    assert.ok(error instanceof UserErrors, String(error));
    return error.problems;
  }
  return assert.fail("it was not refused");
}

/** The same as it is said. */
export function refusal(attempt: () => unknown): string {
  return new UserErrors(refused(attempt)).message;
}
