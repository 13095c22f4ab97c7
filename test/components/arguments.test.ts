import assert from "node:assert/strict";
import { InputPropertiesError, RunError } from "@pulumi/pulumi";
import { ControlPlane } from "../../components/control-plane.ts";
import { NodePool } from "../../components/node-pool.ts";
import { graphOf } from "../support/graph.ts";
import { plannedPool, plannedServers } from "../support/planned.ts";

/** A copy of plain data with another value at a path; `undefined` removes it. */
function changed<T extends object>(of: T, path: string, value: unknown): T {
  const copy = structuredClone(of);
  const keys = path.split(".");
  const last = keys.pop() ?? "";
  const at = keys.reduce<Record<string, unknown>>(
    (owner, key) => owner[key] as Record<string, unknown>,
    copy as Record<string, unknown>,
  );
  if (value === undefined) Reflect.deleteProperty(at, last);
  else at[last] = value;
  return copy;
}

describe("the arguments of a pool", () => {
  const pool = plannedPool("demo", "workers", 2);

  for (const [name, path, value, propertyPath] of [
    ["a missing name of the cluster", "cluster", undefined, "cluster"],
    ["a number as text", "plan.slots.1.vmid", "1101", "plan.slots[1].vmid"],
    ["a new VM without a template", "plan.slots.0.vm.template", undefined, "plan.slots[0].vm.template"],
    ["a time-out that is not one", "site.timeouts.drain", 0, "site.timeouts.drain"],
    ["a network that is too narrow", "vms.prefixLength", 31, "vms.prefixLength"],
    ["a strategy that is unknown", "plan.strategy.kind", "allAtOnce", "plan.strategy.kind"],
    ["servers", "plan.role", "server", "plan.role"],
  ] as const)
    it(`are refused with the path of ${name}`, () => {
      assert.throws(
        () => new NodePool("demo-workers", changed(pool, path, value)),
        (error) => {
          assert.ok(InputPropertiesError.isInstance(error) && RunError.isInstance(error));
          assert.deepEqual(
            error.errors.map((one) => one.propertyPath),
            [propertyPath],
          );
          assert.match(String(error), new RegExp(`demo-workers[^]*where: ${propertyPath.replace(/[[\]]/g, "\\$&")}\n`));
          return true;
        },
      );
    });

  it("are refused with all that is wrong at once", () => {
    const wrong = changed(changed(pool, "vms.storage", ""), "plan.slots.0.name", undefined);
    assert.throws(
      () => new NodePool("demo-workers", wrong),
      (error) => InputPropertiesError.isInstance(error) && error.errors.length === 2,
    );
  });

  it("are those of a control plane only with what its snapshots must be", () => {
    const servers = plannedServers("demo", 1);
    for (const [args, where] of [
      [changed(servers, "backup", undefined), "backup"],
      [{ ...servers, plan: pool.plan }, "plan.role"],
    ] as const)
      assert.throws(
        () => new ControlPlane("demo-servers", args),
        (error) => InputPropertiesError.isInstance(error) && error.errors[0]?.propertyPath === where,
      );
  });

  it("are plain data: what JSON carries declares the same", async () => {
    const sent = JSON.parse(JSON.stringify(pool)) as typeof pool;
    const [own, other] = [
      await graphOf(() => new NodePool("demo-workers", pool)),
      await graphOf(() => new NodePool("demo-workers", sent)),
    ];
    assert.deepEqual(other.resources, own.resources);
  });
});
