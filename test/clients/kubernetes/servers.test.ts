import assert from "node:assert/strict";
import type { Access } from "../../../src/clients/kubernetes/access.ts";
import type { EtcdMember } from "../../../src/clients/kubernetes/etcd-members.ts";
import { labels } from "../../../src/domain/model/formats.ts";
import { readServersAndMembers } from "../../../src/clients/kubernetes/servers.ts";
import type { Node } from "../../../src/clients/kubernetes/types.ts";

const name = "demo-servers-0-0a1b2c3d";
const started: EtcdMember = { node: name, learner: false, started: true };

describe("a server, by its Node and by etcd's own list", () => {
  const node = (ready: string): Node => ({
    metadata: { name, labels: { [labels.server]: "true", [labels.slot]: "0" } },
    status: {
      conditions: [
        { type: "Ready", status: ready },
        { type: "EtcdIsVoter", status: "True" },
      ],
      addresses: [{ type: "InternalIP", address: "10.0.0.1" }],
    },
  });
  /** @param serves whether its own API server does */
  const access = (items: Node[], serves: boolean, asked: string[] = []) => {
    const own = { isReady: () => Promise.resolve(serves), close: () => Promise.resolve() };
    const client = {
      list: () => Promise.resolve({ items: items.filter(({ metadata }) => metadata?.labels?.[labels.server]) }),
      find: (path: string) => Promise.resolve(items.find(({ metadata }) => path.endsWith(`/${metadata?.name ?? ""}`))),
    };
    const at = (host: string) => {
      asked.push(host);
      return own;
    };
    return { client, at } as unknown as Access;
  };

  for (const [what, ready, serves, members, expected] of [
    ["serves", "True", true, [started], ["voter", "healthy"]],
    ["learns", "True", true, [{ ...started, learner: true }], ["learner", "healthy"]],
    ["is in no list of etcd", "True", true, [], ["none", "healthy"]],
    ["answers no more", "True", false, [started], ["voter", "unhealthy"]],
    ["serves on while its kubelet is silent", "Unknown", true, [started], ["voter", "unhealthy"]],
    ["has no Node", undefined, true, [started], ["voter", "unknown"]],
    ["has no Node and never started", undefined, true, [{ ...started, started: false }], ["voter", "unhealthy"]],
  ] as [string, string | undefined, boolean, EtcdMember[], string[]][])
    it(`is a ${expected.join(", ")}, when it ${what}`, async () => {
      const nodes = ready === undefined ? [] : [node(ready)];
      const { signal } = new AbortController();
      const [server, ...others] = await readServersAndMembers(access(nodes, serves), members, signal);
      assert.deepEqual([server?.name, server?.member, server?.health, others], [name, ...expected, []]);
    });

  it("has a Node also when somebody has taken the label of a server off it", async () => {
    const unlabelled = { ...node("True"), metadata: { name, labels: { [labels.slot]: "0" } } };
    const { signal } = new AbortController();
    const [server] = await readServersAndMembers(access([unlabelled], true), [started], signal);
    assert.deepEqual([server?.node, server?.member, server?.health, server?.slot], [true, "voter", "healthy", "0"]);
  });

  for (const [what, given, expected] of [
    ["of both families, IPv4 first", ["10.0.0.1", "fd00::1"], "10.0.0.1"],
    ["of both families, IPv6 first", ["fd00::1", "10.0.0.1"], "10.0.0.1"],
    ["several of IPv6, among them temporary ones", ["2001:db8::9c1f:1", "fd00::1", "10.0.0.1"], "10.0.0.1"],
    ["a link-local one first", ["fe80::1", "fd00::1"], "fd00::1"],
    ["IPv6 alone", ["fd00::1"], "fd00::1"],
  ] as const)
    it(`is asked at the address that all nodes have, when its Node has ${what}`, async () => {
      const there = node("True");
      const addresses = [
        { type: "Hostname", address: name },
        { type: "ExternalIP", address: "192.0.2.1" },
        ...given.map((address) => ({ type: "InternalIP", address })),
      ];
      const asked: string[] = [];
      const both = access([{ ...there, status: { ...there.status, addresses } }], true, asked);
      const [server] = await readServersAndMembers(both, [started], new AbortController().signal);
      assert.deepEqual([server?.health, asked], ["healthy", [expected]]);
    });

  it("is unknown when its Node has no address at which it could be asked", async () => {
    const there = node("True");
    const nowhere = { ...there, status: { ...there.status, addresses: [] } };
    const [server] = await readServersAndMembers(access([nowhere], true), [started], new AbortController().signal);
    assert.equal(server?.health, "unknown");
  });
});
