import {
  formatAddress,
  mayBelongToNode,
  meet,
  parseAddress,
  parseBlock,
  sizeOf,
  type AddressBlock,
} from "../domain/model/address.ts";
import type { Problem } from "../domain/model/problem.ts";

/** A pool of agents, or the servers, with the addresses of its VMIDs. */
export interface AddressOwner {
  path: string;
  vmIds: { first: number; last: number };
  firstAddress?: string;
  addresses?: readonly string[];
  firstAddress6?: string;
  addresses6?: readonly string[];
  ip6?: "auto" | "dhcp";
}

interface Network {
  prefixLength: number;
  gateway?: string;
  prefixLength6: number;
  gateway6?: string;
  registrationAddress: string;
}

/** The keys of one family of addresses. */
const KEYS = {
  4: { first: "firstAddress", list: "addresses", gateway: "gateway", prefixLength: "prefixLength" },
  6: { first: "firstAddress6", list: "addresses6", gateway: "gateway6", prefixLength: "prefixLength6" },
} as const;

/** The addresses of one family that the VMIDs of an owner get. */
interface Given {
  family: 4 | 6;
  /** The key that says them. */
  where: string;
  blocks: AddressBlock[];
}

/** Empty: all addresses are provided by the network. */
function givenTo(owner: AddressOwner): Given[] {
  return ([4, 6] as const).flatMap((family) => {
    const { first, list } = KEYS[family];
    const where = `${owner.path}.${owner[list] ? list : first}`;
    const blocks = owner[list]?.flatMap((text) => parseBlock(text) ?? []) ?? inARow(owner[first], owner.vmIds);
    return blocks.length === 0 ? [] : [{ family, where, blocks }];
  });
}

function inARow(text: string | undefined, vmIds: AddressOwner["vmIds"]): AddressBlock[] {
  const first = text === undefined ? undefined : parseAddress(text);
  if (first === undefined) return [];
  const { family, value } = first;
  return [{ family, first: value, last: value + BigInt(vmIds.last - vmIds.first) }];
}

/** The keys of the first owner that give addresses which VMIDs of the other one get too. */
export function sharedAddresses(one: AddressOwner, other: AddressOwner): string[] {
  const others = givenTo(other).flatMap(({ blocks }) => blocks);
  return givenTo(one).flatMap(({ where, blocks }) =>
    blocks.some((a) => others.some((b) => meet(a, b))) ? [where] : [],
  );
}

/** What is wrong with the addresses of a pool in the network of the site. */
export function addressProblems(owner: AddressOwner, site: Network): Problem[] {
  const { vmIds } = owner;
  const ambiguous = saidTwice(owner);
  if (ambiguous.length > 0) return ambiguous;
  if (vmIds.first > vmIds.last) return [];
  return givenTo(owner).flatMap(({ blocks, where }) => [
    ...tooFew(blocks, vmIds, where),
    ...blocks.flatMap((block) => outside(block, site, where)).filter(isFirst),
    ...blocks.flatMap((block) => reserved(block, site, where)),
    ...twice(blocks, where),
  ]);
}

function saidTwice(owner: AddressOwner): Problem[] {
  return [
    [KEYS[4].first, KEYS[4].list],
    [KEYS[6].first, KEYS[6].list, "ip6"],
  ].flatMap((keys) => {
    const said = keys.filter((key) => owner[key as keyof AddressOwner] !== undefined);
    if (said.length < 2) return [];
    return [
      {
        what: `both ${said.join(" and ")} say which addresses its nodes have`,
        where: `${owner.path}.${said[0] ?? ""}`,
        todo: "leave one of them",
      },
    ];
  });
}

function tooFew(blocks: readonly AddressBlock[], { first, last }: AddressOwner["vmIds"], where: string): Problem[] {
  const count = blocks.reduce((sum, block) => sum + block.last - block.first + 1n, 0n);
  const size = last - first + 1;
  if (count >= size) return [];
  return [
    {
      what: `${count} addresses are too few for ${size} VMIDs`,
      where,
      todo: "add addresses, or make vmIds narrower: each VMID has an address of its own",
    },
  ];
}

function outside({ family, first, last }: AddressBlock, site: Network, where: string): Problem[] {
  const keys = KEYS[family];
  const [prefixLength, gateway = ""] = [site[keys.prefixLength], site[keys.gateway]];
  const size = sizeOf({ family }, prefixLength);
  const network = first - (first % size);
  const show = (value: bigint) => formatAddress({ family, value });
  const shown = `${show(network)}/${prefixLength}`;
  const end = last < sizeOf({ family }, 0) ? show(last) : `beyond ${show(sizeOf({ family }, 0) - 1n)}`;
  // The last address of an IPv4 network is its broadcast address.
  const most = network + size - (family === 4 ? 2n : 1n);
  const problems: Problem[] = [];
  if (first === network || last > most)
    problems.push({
      what: `the addresses ${show(first)} to ${end} do not fit the network ${shown}`,
      where,
      todo: `begin lower, make vmIds narrower, or set evergreen:site.${keys.prefixLength} to the network's`,
    });
  const router = parseAddress(gateway);
  const isRouted = router !== undefined && mayBelongToNode({ family, first: router.value, last: router.value });
  if (isRouted && (router.value < network || router.value >= network + size))
    problems.push({
      what: `the gateway ${gateway} is not in the network ${shown} of these addresses`,
      where,
      todo: `correct evergreen:site.${keys.gateway}, evergreen:site.${keys.prefixLength} or the addresses`,
    });
  return problems;
}

/** No node may have an address of the site's own. */
function reserved(block: AddressBlock, { registrationAddress, gateway, gateway6 }: Network, where: string): Problem[] {
  return Object.entries({ registrationAddress, gateway, gateway6 }).flatMap(([key, value = ""]): Problem[] => {
    const taken = parseAddress(value);
    if (taken?.family !== block.family || taken.value < block.first || taken.value > block.last) return [];
    return [
      {
        what: `${value} is evergreen:site.${key}, and a node would get it too`,
        where,
        todo: "move the range: no node may own that address",
      },
    ];
  });
}

function twice(blocks: readonly AddressBlock[], where: string): Problem[] {
  const found = blocks.find((block, i) => blocks.slice(0, i).some((other) => meet(block, other)));
  if (found === undefined) return [];
  return [
    {
      what: `${formatAddress({ family: found.family, value: found.first })} is in more than one of its blocks`,
      where,
      todo: "name each address once",
    },
  ];
}

/** Several blocks of one network have the same fault of their gateway. */
function isFirst({ what }: Problem, at: number, all: readonly Problem[]): boolean {
  return all.findIndex((other) => other.what === what) === at;
}
