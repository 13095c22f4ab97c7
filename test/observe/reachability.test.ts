import assert from "node:assert/strict";
import { UserError } from "../../src/runtime/errors.ts";
import type { Kubernetes } from "../../src/clients/kubernetes/client.ts";
import { KubernetesError } from "../../src/clients/kubernetes/errors.ts";
import { adoptedGeneration } from "../../src/domain/model/generation.ts";
import type { ObservedVm } from "../../src/domain/model/types.ts";
import { requireReachableCluster, requireQuorum, explainUnreachable } from "../../src/observe/reachability.ts";
import { fakeProxmox } from "../clients/proxmox/fake.ts";

/**
 * `on`, `off` as by a power cut, `retired`: off, and not to start with its host, or `away` on a host that does not answer.
 * Likewise off, and not to start with its host: `shut`, as people leave a server for a maintenance of the site, `noted`,
 * as a destroy leaves one that an earlier version has started, and `adopted`.
 */
type State = "on" | "off" | "retired" | "away" | "shut" | "noted" | "adopted";

const serverVms = (states: readonly State[]): ObservedVm[] =>
  states.map((state, slot) => {
    const place = { pool: "servers", slot, generation: "0a1b2c3d", vmid: 1000 + slot, host: "pve1" };
    const away = state === "away" ? { unreachable: "No route to host" } : {};
    if (state === "adopted")
      return { ...place, name: "kube-a", generation: adoptedGeneration("kube-a"), uuid: "uuid-a", running: false };
    return { ...place, name: `demo-servers-${slot}-0a1b2c3d`, uuid: `uuid-${slot}`, running: state === "on", ...away };
  });

/** The configuration of a server's VM. */
const configOf = (state: State | undefined, name = "any") => ({
  ...{ name, smbios1: "uuid=u", digest: "d", onboot: state === "off" ? 1 : 0 },
  tags: state === "shut" ? "hand;eg-member" : "hand",
  ...(state === "noted" && {
    description: "mine\nEvergreen: the cluster of this VM is being destroyed, since 2026-01-01T00:00:00.000Z\n",
  }),
});

/** Whether a run may begin. @param serves what the API says of itself when it is asked */
async function whyNot(states: readonly State[], serves: boolean): Promise<UserError | undefined> {
  await using pve = await fakeProxmox(({ path }) => {
    const slot = Number(/\/qemu\/100(\d)\//.exec(path)?.[1]);
    return { data: configOf(states[slot], states[slot] === "adopted" ? "kube-a" : "any") };
  });
  const client = { isReady: () => Promise.resolve(serves) } as unknown as Kubernetes;
  return await requireQuorum(pve.client, serverVms(states), client).then(
    () => undefined,
    (error: unknown) => (error instanceof UserError ? error : Promise.reject(error as Error)),
  );
}

describe("a cluster that cannot be asked", () => {
  const cases: [string, State[], boolean, RegExp | undefined][] = [
    ["all servers run", ["on", "on", "on"], false, undefined],
    ["two of three run", ["on", "off", "on"], false, undefined],
    ["one of three runs", ["on", "off", "off"], false, /1 of 3 servers runs, and 2 are needed/],
    ["two of five run", ["on", "off", "on", "off", "off"], false, /2 of 5 servers run, and 3 are needed/],
    ["two of three are on hosts that do not answer", ["on", "away", "away"], false, /1 of 3 servers runs, and 2 are/],
    ["one of two runs", ["off", "on"], false, /1 of 2 servers runs, and 2 are needed/],
    ["the others were shut down by people", ["shut", "shut", "on"], false, /1 of 3 servers runs, and 2 are needed/],
    ["an adopted one is off with another", ["adopted", "shut", "on"], false, /1 of 3 servers runs, and 2 are needed/],
    ["the others were retired", ["retired", "retired", "on"], false, undefined],
    ["one of three runs and serves alone, after a reset", ["on", "off", "off"], true, undefined],
  ];
  for (const [title, states, serves, why] of cases) {
    it(`${why ? "is refused" : "is asked"} when ${title}`, async () => {
      const refused = await whyNot(states, serves);
      if (why === undefined) {
        assert.equal(refused, undefined);
        return;
      }
      assert.match(refused?.problem.what ?? "", why);
      assert.match(
        refused?.problem.where ?? "",
        /(demo-servers-\d-0a1b2c3d|kube-a) (\(VM 100\d\) is off|is on pve1, which does not answer)/,
      );
      assert.match(refused?.problem.todo ?? "", /docs\/recovery\.md, "The quorum is lost"/);
    });
  }

  for (const [title, state, answer, isRefused] of [
    ["boots and was never told to make the cluster", "on", "No such file or directory", false],
    ["was told to make the cluster", "on", undefined, true],
    ["has an agent that nobody may ask", "on", "Permission check failed", true],
    ["is off", "off", "VM 1000 is not running", true],
  ] as const)
    it(`is ${isRefused ? "refused" : "made"} when its first server ${title}`, async () => {
      await using pve = await fakeProxmox(({ path }) => {
        if (!path.includes("/agent/file-read"))
          return { data: { name: "any", smbios1: "uuid=u", onboot: 1, digest: "d" } };
        return answer === undefined ? { data: { content: "server 0123\n" } } : { status: 500, reason: answer };
      });
      const made = requireReachableCluster(pve.client, serverVms([state]));
      await (isRefused ? assert.rejects(made, /the cluster exists but none of its servers answers/) : made);
    });

  for (const [title, state, todo] of [
    ["people have shut down", "shut", /^start the server VMs \(qm start/],
    [
      "a destroy has turned off that was broken off",
      "noted",
      /^a destroy of it was broken off: go on with it \(pulumi/,
    ],
    ["was adopted", "adopted", /^start the server VMs/],
  ] as const)
    it(`is refused while its only server is off and does not start with its host, which ${title}`, async () => {
      await using pve = await fakeProxmox(() => ({ data: configOf(state, state === "adopted" ? "kube-a" : "any") }));
      await assert.rejects(requireReachableCluster(pve.client, serverVms([state])), (error: unknown) => {
        assert.ok(error instanceof UserError);
        assert.match(error.problem.where, /servers that were members: \S+ \(VM 1000 on pve1\)/);
        assert.match(error.problem.todo, todo);
        return true;
      });
    });

  it("is made when all servers that are left have been decommissioned", async () => {
    await using pve = await fakeProxmox(() => ({ data: configOf("retired") }));
    await requireReachableCluster(pve.client, serverVms(["retired", "retired"]));
  });

  it("is refused while VMs of an earlier one are left, as one that is kept for its data", async () => {
    await using pve = await fakeProxmox(() => ({ data: configOf("retired") }));
    const kept = serverVms(["retired"]).map((vm) => ({ ...vm, pool: "workers", uidTag: "eg-uid-0f1e2d3c" }));
    await assert.rejects(
      requireReachableCluster(pve.client, kept),
      /VMs of an earlier cluster of this name exist.*\n.*demo-servers-0-0a1b2c3d \(VM 1000 on pve1\) has eg-uid-0f1e2d3c/,
    );
  });

  it("is refused while only its second server boots", async () => {
    await using pve = await fakeProxmox(({ path }) => {
      if (path.includes("/agent/file-read")) return { status: 500, reason: "No such file or directory" };
      return { data: { name: "any", smbios1: "uuid=u", onboot: 1, digest: "d" } };
    });
    const [, second] = serverVms(["on", "on"]);
    assert.ok(second);
    await assert.rejects(requireReachableCluster(pve.client, [second]), /the cluster exists but none of its servers/);
  });

  it("is refused while a server of it may be on a host that does not answer: a second one would be made", async () => {
    await using pve = await fakeProxmox(() => ({ status: 595, reason: "No route to host" }));
    const silent = requireReachableCluster(pve.client, serverVms(["away"]));
    await assert.rejects(silent, /none of its servers answers/);
  });

  it("is named with its servers when its API answers and etcd does not", async () => {
    const answer = { reason: "InternalError", message: "etcdserver: request timed out", causes: [] };
    const failed = (status: number) =>
      Promise.reject(new KubernetesError({ ...answer, status, method: "GET", path: "/api/v1/nodes" }));
    await assert.rejects(
      explainUnreachable(serverVms(["on", "on", "off"]), failed(500)),
      /answers and does not serve: etcdserver: request timed out.*servers-1-0a1b2c3d runs; demo-servers-2-0a1b2c3d is off/s,
    );
    await assert.rejects(explainUnreachable(serverVms(["on"]), failed(403)), KubernetesError);
    assert.equal(await explainUnreachable([], Promise.resolve(7)), 7);
  });
});
