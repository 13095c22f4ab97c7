import assert from "node:assert/strict";
import fc from "fast-check";
import { chooseHosts, withWeight, type HostedPool, type HostFacts } from "../../../src/domain/rollout/host-choice.ts";

/** A pool of which some VMs exist, each on a host, and the others are made. */
const pool = (role: HostedPool["role"], hosts: string[], existing: (string | undefined)[], name = "w"): HostedPool => ({
  role,
  hosts,
  nodes: existing.map((host, slot) => ({ name: `${name}-${slot}`, ...(host !== undefined && { host }) })),
});
const fresh = (count: number): undefined[] => Array.from({ length: count }, () => undefined);

/** The hosts of all nodes of a pool once its VMs are made. */
function after(one: HostedPool, facts: HostFacts = {}, others: HostedPool[] = []): string[] {
  const chosen = chooseHosts([...others, one], facts);
  return one.nodes.map(({ name, host }) => host ?? chosen.get(name) ?? "none");
}

const times = (hosts: readonly string[], host: string): number => hosts.filter((one) => one === host).length;

describe("hosts of new VMs", () => {
  const abc = ["a", "b", "c"];
  const cases: [title: string, pool: HostedPool, facts: HostFacts, hosts: string[]][] = [
    ["go round", pool("agent", abc, fresh(5)), {}, ["a", "b", "c", "a", "b"]],
    [
      "fill up a host that is new",
      pool("agent", ["a", "b"], ["a", "a", undefined, undefined]),
      {},
      ["a", "a", "b", "b"],
    ],
    [
      "are as large as their weights, after each host has one",
      pool("agent", abc, fresh(8)),
      { weights: { a: 4, b: 2, c: 2 } },
      ["a", "b", "c", "a", "a", "b", "c", "a"],
    ],
    ["leave a host with the weight 0 out", pool("agent", abc, fresh(3)), { weights: { b: 0 } }, ["a", "c", "a"]],
    [
      "count what exists on a host with the weight 0 in its zone",
      pool("server", abc, ["b", undefined]),
      { weights: { b: 0 }, zones: { a: "x", b: "x", c: "y" } },
      ["b", "c"],
    ],
    [
      "are in each zone before a second one in any",
      pool("agent", ["a", "b", "c", "d"], fresh(4)),
      { zones: { a: "x", b: "x", c: "x", d: "y" } },
      ["a", "d", "b", "c"],
    ],
    [
      "share a zone by its size",
      pool("agent", ["a", "b", "c", "d"], fresh(8)),
      { zones: { a: "x", b: "x", c: "x", d: "y" } },
      ["a", "d", "b", "c", "a", "d", "b", "c"],
    ],
    [
      "do not follow weights with servers",
      pool("server", abc, fresh(5)),
      { weights: { a: 10 } },
      ["a", "b", "c", "a", "b"],
    ],
    ["give a replaced server the host that has none", pool("server", abc, ["c", undefined, "a"]), {}, ["c", "b", "a"]],
    ["have none where none takes VMs", pool("agent", [], fresh(1)), {}, ["none"]],
    [
      "know hosts by the names of anything",
      pool("agent", ["constructor", "toString"], fresh(2)),
      { weights: {}, zones: {} },
      ["constructor", "toString"],
    ],
  ];
  for (const [title, one, facts, hosts] of cases) it(title, () => assert.deepEqual(after(one, facts), hosts));

  it("take the host with the fewest VMs of other pools among equals", () => {
    const other = pool("agent", abc, fresh(1), "other");
    assert.deepEqual(after(pool("agent", abc, fresh(2)), {}, [other]), ["b", "c"]);
  });

  it("take hosts without servers first, which pools smaller than the list of hosts would never reach", () => {
    const hosts = ["a", "b", "c", "d", "e"];
    const servers = pool("server", hosts, fresh(3), "servers");
    const small = pool("agent", hosts, fresh(1), "small");
    assert.deepEqual(after(pool("agent", hosts, fresh(2)), {}, [servers, small]), ["e", "a"]);
    assert.deepEqual(after(pool("agent", hosts, fresh(2)), {}, [pool("server", hosts, ["e", "d", "a"], "s")]), [
      "b",
      "c",
    ]);
  });

  it("leave hosts that differ by at most one node when all pools may be on all of them", () => {
    const sizes = fc.array(fc.integer({ min: 1, max: 7 }), { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(sizes, fc.integer({ min: 1, max: 6 }), (counts, many) => {
        const hosts = Array.from({ length: many }, (_, k) => `h${k}`);
        const pools = counts.map((slots, k) => pool(k === 0 ? "server" : "agent", hosts, fresh(slots), `p${k}`));
        const found = [...chooseHosts(pools, {}).values()];
        const load = hosts.map((one) => times(found, one));
        assert.ok(Math.max(...load) - Math.min(...load) <= 1, load.join());
      }),
    );
  });

  const host = fc.constantFrom("h1", "h2", "h3", "h4", "h5", "h6");
  const site = fc.record({
    hosts: fc.uniqueArray(host, { minLength: 1 }),
    weights: fc.dictionary(host, fc.integer({ min: 0, max: 5 })),
    zones: fc.dictionary(host, fc.constantFrom("x", "y", "z")),
  });
  const role = fc.constantFrom("agent" as const, "server" as const);

  it("never have more than their share, rounded up, and one each before any has two", () => {
    fc.assert(
      fc.property(site, fc.integer({ min: 0, max: 40 }), ({ hosts, weights }, count) => {
        const open = withWeight(hosts, { weights });
        const found = after(pool("agent", hosts, fresh(count)), { weights });
        if (open.length === 0) return found.every((one) => one === "none");
        const sum = open.reduce((all, one) => all + (weights[one] ?? 1), 0);
        for (const one of open)
          assert.ok(times(found, one) <= Math.ceil((count * (weights[one] ?? 1)) / sum) || times(found, one) <= 1);
        if (count >= open.length) assert.deepEqual(new Set(found), new Set(open));
        return true;
      }),
    );
  });

  it("have the same number in each zone of the same size, give or take one", () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 0, max: 30 }), role, (each, count, kind) => {
        const zones = Object.fromEntries(
          ["x", "y", "z"].flatMap((zone) => Array.from({ length: each }, (_, k) => [`${zone}${k}`, zone])),
        );
        const found = after(pool(kind, Object.keys(zones), fresh(count)), { zones }).map((one) => zones[one]);
        const counts = ["x", "y", "z"].map((zone) => found.filter((one) => one === zone).length);
        assert.ok(Math.max(...counts) - Math.min(...counts) <= 1, counts.join());
      }),
    );
  });

  it("have one of three servers each, and zones alike, whichever of them are replaced", () => {
    fc.assert(
      fc.property(site, fc.subarray([0, 1, 2]), ({ hosts, weights, zones }, replaced) => {
        const open = withWeight(hosts, { weights });
        fc.pre(open.length > 0);
        const before = after(pool("server", hosts, fresh(3)), { weights, zones });
        const found = after(
          pool(
            "server",
            hosts,
            before.map((one, slot) => (replaced.includes(slot) ? undefined : one)),
          ),
          { weights, zones },
        );
        for (const many of [before, found]) {
          const zone = (one: string) => zones[one] ?? `host ${one}`;
          const inZones = new Set(open.map(zone));
          assert.equal(new Set(many.map(zone)).size, Math.min(3, inZones.size));
          assert.equal(new Set(many).size, Math.min(3, open.length));
        }
      }),
      { numRuns: 1000 },
    );
  });

  /** How many servers the fullest host has. */
  const fullest = (servers: readonly string[]): number => Math.max(...servers.map((one) => times(servers, one)));

  for (const slots of [3, 5])
    it(`have no more of ${slots} servers in the middle of a rollout than before or after it`, () => {
      fc.assert(
        fc.property(
          site,
          fc.array(host, { minLength: slots, maxLength: slots }),
          fc.array(host, { maxLength: 9 }),
          fc.integer({ min: 0, max: slots }),
          ({ hosts, weights, zones }, before, agents, made) => {
            fc.pre(withWeight(hosts, { weights }).length > 0);
            const others = pool("agent", hosts, agents, "agent");
            // An earlier run may have made the VMs of the first slots.
            const all = before.map((one, slot) => ({ name: `new-${slot}`, before: one }));
            const facts = { weights, zones };
            const first = chooseHosts([{ role: "server", hosts, nodes: all }, others], facts);
            const has = (name: string, slot: number) => (slot < made ? { host: first.get(name) ?? "" } : {});
            const nodes = all.map((one, slot) => ({ ...one, ...has(one.name, slot) }));
            const chosen = chooseHosts([{ role: "server", hosts, nodes }, others], facts);
            const now = nodes.map(({ name, host: is }) => is ?? chosen.get(name) ?? "none");
            const most = Math.max(fullest(before), fullest(now));
            for (let handed = 1; handed < slots; handed += 1) {
              const middle = [...now.slice(0, handed), ...before.slice(handed)];
              assert.ok(fullest(middle) <= most, `${before.join()} -> ${middle.join()} -> ${now.join()}`);
            }
          },
        ),
        { numRuns: 1000 },
      );
    });

  it("have one of three servers each all the way, whatever their order, where they had one each before", () => {
    fc.assert(
      fc.property(fc.array(host, { maxLength: 9 }), (agents) => {
        const servers = ["a", "b", "c"].map((before, slot) => ({ name: `new-${slot}`, before }));
        const chosen = chooseHosts(
          [{ role: "server", hosts: abc, nodes: servers }, pool("agent", abc, agents, "agent")],
          {},
        );
        assert.deepEqual([...chosen.values()], abc);
      }),
    );
  });

  it("are told for new VMs alone, whatever moved by hand, and three servers end on three hosts where one can help it", () => {
    fc.assert(
      fc.property(
        site,
        fc.array(fc.option(host, { nil: undefined }), { minLength: 3, maxLength: 3 }),
        ({ hosts, weights, zones }, existing) => {
          const open = withWeight(hosts, { weights });
          fc.pre(open.length >= 3);
          const one = pool("server", hosts, existing);
          const chosen = chooseHosts([one], { weights, zones });
          assert.deepEqual(
            [...chosen.keys()],
            one.nodes.filter((node) => node.host === undefined).map(({ name }) => name),
          );
          // Each new one is where no other one is, old or new.
          const found = after(one, { weights, zones });
          for (const [slot, at] of found.entries())
            if (existing[slot] === undefined) assert.equal(times(found, at), 1, `${existing.join()} ${found.join()}`);
        },
      ),
      { numRuns: 1000 },
    );
  });

  it("stay in the zone that nodes have on the host of the node that they replace, where the site has none", () => {
    const hosts = ["a1", "b1"];
    const other = { role: "agent" as const, hosts, nodes: [{ name: "other", host: "b1" }] };
    const nodes = [
      { name: "first", before: "b1" },
      { name: "second", before: "a1" },
    ];
    const chosen = (seenZones: Record<string, string>) =>
      Object.fromEntries(chooseHosts([{ role: "agent", hosts, nodes }, other], { seenZones }));
    assert.deepEqual(chosen({ a1: "a", b1: "b" }), { first: "b1", second: "a1" });
    assert.deepEqual(chosen({}), { first: "a1", second: "b1" });
  });

  for (const [title, zones, before, expected] of [
    ["stay in the zone of the node that they replace, among equals", { a1: "a", b1: "b" }, "b1", "b1"],
    ["stay in it on the host with the fewest", { a1: "a", b1: "b", b2: "b" }, "b1", "b2"],
    ["go where fewest are when the site has no zones", {}, "b1", "a1"],
    ["go to a zone with fewer of their pool all the same", { a1: "a", b1: "b", c1: "b" }, "c1", "a1"],
  ] as const)
    it(title, () => {
      const hosts = ["a1", "b1", ...("b2" in zones ? ["b2"] : []), ...("c1" in zones ? ["c1"] : [])];
      const kept = title.includes("fewer of their pool") ? [{ name: "kept", host: "b1" }] : [];
      const other = { role: "agent" as const, hosts, nodes: [{ name: "other", host: "b1" }] };
      const own = { role: "agent" as const, hosts, nodes: [...kept, { name: "new", before }] };
      assert.equal(chooseHosts([own, other], { zones }).get("new"), expected);
    });
});
