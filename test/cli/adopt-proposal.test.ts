import assert from "node:assert/strict";
import { parse } from "yaml";
import {
  familyNotes,
  type AddressedNode,
  propose,
  shown,
  withEntries,
  type CandidateNode,
  type CandidateVm,
} from "../../cli/adopt-proposal.ts";
import { UserError } from "../../src/runtime/errors.ts";
import { ownSettings, readConfig } from "../../src/config/config.ts";
import { OLD, smallConfig } from "../support/picture.ts";

const uuidOf = (vmid: number) => `6b0124f9-0000-4000-8000-000000000${vmid}`;
const node = (vmid: number, changes: Partial<CandidateNode> = {}): CandidateNode => ({
  name: `kube-${vmid}`,
  uuid: uuidOf(vmid),
  role: "agent",
  created: `2026-01-01T00:00:${vmid % 60}Z`,
  ours: undefined,
  ...changes,
});
const vm = (vmid: number, changes: Partial<CandidateVm> = {}): CandidateVm => ({
  vmid,
  name: `kube-${vmid}`,
  uuid: uuidOf(vmid),
  template: false,
  pool: "nodes",
  answers: true,
  ...changes,
});
const server = node(301, { role: "server" });

describe("what can be adopted", () => {
  it("is every node by its machine: servers into the control plane, agents into the pool, the oldest first", () => {
    const nodes = [node(303, { created: "2026-02-01" }), node(302, { created: "2025-02-01" }), server];
    const { entries, untouched, notes } = propose(
      smallConfig(),
      nodes,
      [301, 302, 303].map((id) => vm(id)),
      "workers",
    );
    assert.deepEqual([untouched, notes], [[], []]);
    assert.deepEqual(
      [...entries].flatMap(([pool, list]) => list.map(({ slot, vmid, node }) => [pool, slot, vmid, node])),
      [
        ["workers", 0, 302, "kube-302"],
        ["workers", 1, 303, "kube-303"],
        ["servers", 0, 301, "kube-301"],
      ],
    );
  });

  it("is the machine that answers, and not a copy or a restored backup that is off", () => {
    const copy = vm(201, { name: "kube-302", uuid: uuidOf(302), answers: false });
    const proposed = (vms: CandidateVm[]) => propose(smallConfig(), [node(302)], vms, "workers");
    const { entries, untouched } = proposed([copy, vm(302)]);
    assert.deepEqual(untouched, []);
    assert.equal(entries.get("workers")?.[0]?.vmid, 302);
    for (const answers of [true, false]) {
      const [one] = proposed([{ ...copy, answers }, vm(302, { answers })]).untouched;
      assert.match(one?.why ?? "", /VM 201 \(kube-302\) and VM 302 \(kube-302\) have its SMBIOS uuid.* do not start/);
    }
  });

  const cases: [string, CandidateNode, CandidateVm[], string | undefined, RegExp][] = [
    [
      "is on no VM that is seen",
      node(302),
      [],
      "workers",
      /no VM that the token sees has its SMBIOS uuid \(6b01.*pool nodes/,
    ],
    ["has not said its uuid", node(302, { uuid: "" }), [vm(302)], "workers", /SMBIOS uuid \(not reported\)/],
    [
      "is in another Proxmox pool",
      node(302),
      [vm(302, { pool: "billing" })],
      "workers",
      /VM 302 is not in the pool nodes: move it/,
    ],
    ["is a template", node(302), [vm(302, { template: true })], "workers", /is a template/],
    ["has another name in Proxmox", node(302), [vm(302, { name: "b" })], "workers", /has the name b: .* rename the VM/],
    ["has no guest agent", node(302), [vm(302, { answers: false })], "workers", /install and start qemu-guest-agent/],
    [
      "is ours",
      node(302, { ours: { pool: "workers", slot: 1 } }),
      [vm(302)],
      "workers",
      /ours already: pool workers, slot 1/,
    ],
    ["has no pool to go to", node(302), [vm(302)], undefined, /name one with --pool/],
  ];
  for (const [title, one, vms, pool, why] of cases) {
    it(`is no node that ${title}`, () => {
      const { entries, untouched } = propose(smallConfig(), [one], vms, pool);
      assert.equal(entries.size, 0);
      assert.deepEqual(
        untouched.map((left) => left.node),
        ["kube-302"],
      );
      assert.match(untouched[0]?.why ?? "", why);
    });
  }

  it("leaves slots alone that somebody has, and says when there are too few", () => {
    const adopt = [{ slot: 0, vmid: 304, uuid: uuidOf(304), node: "kube-304" }];
    const workers = { name: "workers", image: OLD, slots: 2, vmIds: { first: 1100, last: 1109 }, adopt };
    const nodes = [302, 303, 304].map((id) => node(id));
    const { entries, untouched } = propose(
      smallConfig({ pools: [workers] }),
      nodes,
      nodes.map((_, i) => vm(302 + i)),
      "workers",
    );
    assert.deepEqual(
      entries.get("workers")?.map(({ slot, node }) => [slot, node]),
      [[1, "kube-302"]],
    );
    assert.deepEqual(
      untouched.map(({ node, why }) => `${node}: ${why}`),
      ["kube-303: pool workers has no free slot: give it more slots", "kube-304: the configuration adopts it already"],
    );
  });

  it("needs as many servers in the configuration as there are", () => {
    const servers = [301, 302, 303].map((id) => node(id, { role: "server" }));
    const { notes } = propose(smallConfig(), servers, [], "workers");
    assert.match(notes.join("\n"), /has 3 servers and controlPlane\.servers is 1/);
  });
});

describe("a cluster to adopt that has IPv6", () => {
  const keys = (pods: string, services: string) => ({ "cluster-cidr": pods, "service-cidr": services });
  const both = keys("10.42.0.0/16,fd00:42::/56", "10.43.0.0/16,fd00:43::/112");
  const nodes = (addresses: string[], lifelongKeys?: AddressedNode["lifelongKeys"]): AddressedNode[] => [
    { name: "old-1", addresses, ...(lifelongKeys && { lifelongKeys }) },
  ];

  it("needs the keys of IPv6 for the servers and each pool, where pods have both families", () => {
    const notes = familyNotes(smallConfig(), nodes(["10.0.0.1", "fd00::1"], both));
    assert.equal(notes.length, 2);
    assert.match(
      notes[0] ?? "",
      /^evergreen:controlPlane\.ip6: set firstAddress6 .*RKE2 starts on no node without both/,
    );
    assert.match(notes[1] ?? "", /^evergreen:pools\[0\]\.ip6: /);
    const told = { ...smallConfig(), pools: smallConfig().pools.map((pool) => ({ ...pool, ip6: "auto" as const })) };
    assert.equal(familyNotes(told, nodes(["10.0.0.1", "fd00::1"], both)).length, 1);
    assert.deepEqual(familyNotes(smallConfig(), nodes(["10.0.0.1", "fd00::1"])), []);
  });

  for (const [title, given, says] of [
    ["IPv6 alone by its networks", nodes(["fd00::1"], keys("fd00:42::/56", "fd00:43::/112")), /IPv6 alone/],
    ["IPv6 alone by its nodes", nodes(["fd00::1"]), /have IPv6 alone, which is not possible yet: .*reached by IPv4/],
    [
      "IPv6 first",
      nodes(["fd00::1", "10.0.0.1"], keys("fd00:42::/56,10.42.0.0/16", "fd00:43::/112,10.43.0.0/16")),
      /IPv6 first is not possible yet[^]*leave the cluster out/,
    ],
  ] as const)
    it(`is refused with the reason when it has ${title}`, () => {
      assert.throws(() => familyNotes(smallConfig(), given), says);
    });
});

describe("a stack's file with adopted nodes in it", () => {
  const text = `# The site.
config:
  evergreen:cluster: demo # its name
  evergreen:site: { registrationAddress: 127.9.0.5, hosts: [pve1], storage: local, proxmoxPool: nodes }
  evergreen:controlPlane:
    image: ${OLD}
    servers: 1
    vmIds: {first: 1000, last: 1009}
  evergreen:pools:
    # General work.
    - name: workers
      image: ${OLD}
      slots: 2
      vmIds: {first: 1100, last: 1109}
`;
  const configOf = (yaml: string) =>
    readConfig(ownSettings((parse(yaml) as { config: Record<string, unknown> }).config));
  const proposal = propose(
    configOf(text),
    [server, node(302), node(303)],
    [301, 302, 303].map((id) => vm(id)),
    "workers",
  );

  it("keeps its comments, and says what was shown", () => {
    const written = withEntries(text, configOf(text), proposal, "Pulumi.prod.yaml");
    for (const comment of ["# The site.", "# its name", "# General work."])
      assert.ok(written.includes(comment), comment);
    const { controlPlane, pools } = configOf(written);
    assert.deepEqual(controlPlane.adopt, proposal.entries.get("servers"));
    assert.deepEqual(pools[0]?.adopt, proposal.entries.get("workers"));
    for (const line of shown(proposal)
      .split("\n")
      .filter((one) => one.includes("vmid")))
      assert.ok(written.includes(line.trim()), line);
  });

  it("gets more entries beside those that it has", () => {
    const some = { ...proposal, entries: new Map([["workers", (proposal.entries.get("workers") ?? []).slice(0, 1)]]) };
    const rest = { ...proposal, entries: new Map([["workers", (proposal.entries.get("workers") ?? []).slice(1)]]) };
    const first = withEntries(text, configOf(text), some, "f");
    const both = withEntries(first, configOf(first), rest, "f");
    assert.deepEqual(configOf(both).pools[0]?.adopt, proposal.entries.get("workers"));
  });

  it("is refused when a pool stands in it as text", () => {
    const asText = text.replace(
      /evergreen:controlPlane:\n(.*\n){3}/,
      `evergreen:controlPlane: '{"image":"${OLD}","servers":1,"vmIds":{"first":1000,"last":1009}}'\n`,
    );
    assert.throws(
      () => withEntries(asText, configOf(asText), proposal, "Pulumi.prod.yaml"),
      (error) =>
        error instanceof UserError && error.problem.what.endsWith("evergreen:controlPlane is not a map of YAML"),
    );
  });
});
