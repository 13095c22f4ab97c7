/** The keys of addresses: of nodes, of their network, and in front of the servers. */
import { isIP } from "node:net";
import { z } from "zod";
import { mayBelongToNode, parseAddress, parseBlock, usualSpelling } from "../domain/model/address.ts";

const text = z.string().min(1);
/** What a value of IPv4 must be; one of IPv6 is told why it cannot be here. */
const ofIpv4 = (what: string) => ({
  error: ({ input }: { input: unknown }) =>
    typeof input === "string" && parseBlock(input)?.family === 6
      ? `${what}: no node has IPv6 alone yet, for nodes are reached by IPv4. IPv6 beside it has its own keys (firstAddress6, addresses6, ip6, gateway6)`
      : what,
});
const address = z
  .string()
  .refine((value) => parseAddress(value)?.family === 4, ofIpv4("must be an IPv4 address"))
  .meta({ values: "IPv4 address" });
const address6 = z
  .string()
  .refine((value) => parseAddress(value)?.family === 6, "must be an IPv6 address")
  .meta({ values: "IPv6 address" });
/** IPv6 addresses of nodes, each a text or a block. */
const ofNodes = (value: string): boolean => {
  const block = parseBlock(value);
  return block === undefined || mayBelongToNode(block);
};
const REACHED =
  "must be reached by other machines: it is not unspecified, loopback, link-local, multicast or an IPv4 address";
/** Routers are often named by their link-local address. */
const isRouter = (value: string): boolean => ofNodes(value) || /^fe[89ab]/i.test(value);

/** Of a pool, or of the servers. */
export const nodeAddresses = {
  firstAddress: address.exactOptional().meta({
    description: "IPv4 address of the first VMID; each further VMID has the address at the same offset.",
    unset: "`addresses`, or DHCP",
    change: "New nodes.",
  }),
  addresses: z
    .array(
      text
        .refine(
          (value) => parseBlock(value)?.family === 4,
          ofIpv4("must be an IPv4 address, or two of them with a dash"),
        )
        .meta({ values: "IPv4 address, or a block such as `10.0.0.20-10.0.0.39`" }),
    )
    .min(1)
    .exactOptional()
    .meta({
      description:
        "In place of `firstAddress`, where addresses have holes: the VMIDs get these addresses in their order. As many as there are VMIDs.",
      unset: "`firstAddress`, or DHCP",
      change: "New nodes.",
    }),
  firstAddress6: address6.refine(ofNodes, REACHED).exactOptional().meta({
    description:
      "IPv6 address of the first VMID, beside the IPv4 address; each further VMID has the address at the same offset. A cluster has both families from its creation on or never: `cluster-cidr` and `service-cidr` under `evergreen:controlPlane.config` say so.",
    unset: "`addresses6`, or `ip6`",
    change: "New nodes.",
  }),
  addresses6: z
    .array(
      text
        .refine((value) => parseBlock(value)?.family === 6, "must be an IPv6 address, or two of them with a dash")
        .refine(ofNodes, REACHED)
        .meta({ values: "IPv6 address, or a block such as `fd00::20-fd00::39`" }),
    )
    .min(1)
    .exactOptional()
    .meta({
      description:
        "In place of `firstAddress6`: the VMIDs get these addresses in their order. As many as there are VMIDs.",
      unset: "`firstAddress6`, or `ip6`",
      change: "New nodes.",
    }),
  ip6: z.enum(["auto", "dhcp"]).exactOptional().meta({
    description:
      "In place of IPv6 addresses of their own: the nodes get one by router advertisements (`auto`) or DHCPv6 (`dhcp`), as `ip6` of Proxmox's `ipconfig0` says it.",
    unset: "Proxmox tells the nodes nothing of IPv6",
    change: "New nodes.",
  }),
};

/** Of the site. */
export const siteNetwork = {
  gateway: address.exactOptional().meta({
    description: "Gateway of the node network, for nodes with an address of their own (`firstAddress`).",
    unset: "none; with DHCP, what DHCP provides",
    change: "New nodes.",
  }),
  prefixLength: z.int().min(8).max(30).default(24).meta({
    description: "Prefix length of the node network, for nodes with an address of their own (`firstAddress`).",
    change: "New nodes.",
  }),
  gateway6: address6.refine(isRouter, "must be the address of a router").overwrite(usualSpelling).exactOptional().meta({
    description:
      "IPv6 gateway of the node network, for nodes with an IPv6 address of their own (`firstAddress6`). It may be a link-local address.",
    values: "IPv6 address",
    unset: "what router advertisements say",
    change: "New nodes.",
  }),
  prefixLength6: z.int().min(16).max(126).default(64).meta({
    description:
      "IPv6 prefix length of the node network, for nodes with an IPv6 address of their own (`firstAddress6`).",
    change: "New nodes.",
  }),
  dnsServers: z
    .array(
      z
        .string()
        .refine((value) => isIP(value) !== 0, "must be an IPv4 or IPv6 address")
        .meta({ values: "IP address" }),
    )
    .default([])
    .meta({ description: "Name servers of the nodes. An empty list: DHCP provides them.", change: "New nodes." }),
  searchDomain: text
    .regex(/^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$/, "must be a domain name")
    .exactOptional()
    .meta({
      description: "Domain in which nodes look for host names without one.",
      unset: "what DHCP provides, or that of the Proxmox host",
      change: "New nodes.",
    }),
};

export const registrationAddress = text
  .refine(
    (value) => /^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$/.test(value) || parseAddress(value) !== undefined,
    "must be a host name or an IP address, without brackets",
  )
  .refine(ofNodes, REACHED)
  // Nodes and certificates keep it as it was written when they were made.
  .overwrite(usualSpelling)
  .meta({
    description:
      "Address in front of the ready servers, ports 9345 and 6443: a load balancer or a virtual address that no node owns.",
    values: "host name, IPv4 or IPv6 address",
    change:
      "New nodes; existing nodes keep the address that they joined with, so the old address must stay available. Refused when a server is to be replaced or removed while an agent or an adopted node still has another address: raise `rollout` of the pools of agents first.",
  });
