import { formatAddress, parseAddress, parseBlock, type AddressBlock } from "../domain/model/address.ts";
import type { Problem } from "../domain/model/problem.ts";

/** A pool of agents, or the servers, with the addresses of its VMIDs. */
export interface AddressOwner {
  path: string;
  vmIds: { first: number; last: number };
  firstAddress?: string;
  addresses?: readonly string[];
}

interface Network {
  prefixLength: number;
  gateway?: string;
  registrationAddress: string;
}

/** The key that says which addresses a pool has. */
export const addressPath = ({ path, addresses }: AddressOwner): string =>
  `${path}.${addresses ? "addresses" : "firstAddress"}`;

/** The addresses that its VMIDs get. Empty: DHCP provides them. */
function blocksOf({ vmIds, firstAddress, addresses }: AddressOwner): AddressBlock[] {
  if (addresses) return addresses.flatMap((text) => parseBlock(text) ?? []);
  const first = firstAddress === undefined ? undefined : parseAddress(firstAddress);
  return first === undefined ? [] : [{ first, last: first + vmIds.last - vmIds.first }];
}

/** Whether an address belongs to VMIDs of both. */
export function shareAddresses(one: AddressOwner, other: AddressOwner): boolean {
  return blocksOf(one).some((a) => blocksOf(other).some((b) => a.first <= b.last && b.first <= a.last));
}

/** What is wrong with the addresses of a pool in the network of the site. */
export function addressProblems(owner: AddressOwner, site: Network): Problem[] {
  const { path, vmIds, firstAddress, addresses } = owner;
  const blocks = blocksOf(owner);
  const where = addressPath(owner);
  if (firstAddress !== undefined && addresses)
    return [
      {
        what: "both firstAddress and addresses say which addresses its nodes have",
        where: `${path}.firstAddress`,
        todo: "remove one of them",
      },
    ];
  if (blocks.length === 0 || vmIds.first > vmIds.last) return [];
  return [
    ...tooFew(blocks, vmIds, where),
    ...blocks.flatMap((block) => outside(block, site, where)).filter(isFirst),
    ...blocks.flatMap((block) => reserved(block, site, where)),
    ...twice(blocks, where),
  ];
}

function tooFew(blocks: readonly AddressBlock[], { first, last }: AddressOwner["vmIds"], where: string): Problem[] {
  const count = blocks.reduce((sum, block) => sum + block.last - block.first + 1, 0);
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

function outside({ first, last }: AddressBlock, { prefixLength, gateway = "" }: Network, where: string): Problem[] {
  const size = 2 ** (32 - prefixLength);
  const network = first - (first % size);
  const shown = `${formatAddress(network)}/${prefixLength}`;
  const end = last < 2 ** 32 ? formatAddress(last) : "beyond 255.255.255.255";
  const problems: Problem[] = [];
  if (first === network || last >= network + size - 1)
    problems.push({
      what: `the addresses ${formatAddress(first)} to ${end} do not fit the network ${shown}`,
      where,
      todo: "begin lower, make vmIds narrower, or set evergreen:site.prefixLength to the network's",
    });
  const router = parseAddress(gateway);
  if (router !== undefined && (router < network || router >= network + size))
    problems.push({
      what: `the gateway ${gateway} is not in the network ${shown} of these addresses`,
      where,
      todo: "correct evergreen:site.gateway, evergreen:site.prefixLength or the addresses",
    });
  return problems;
}

/** No node may have an address of the site's own. */
function reserved(
  { first, last }: AddressBlock,
  { registrationAddress, gateway = "" }: Network,
  where: string,
): Problem[] {
  return Object.entries({ registrationAddress, gateway }).flatMap(([key, value]): Problem[] => {
    const taken = parseAddress(value);
    if (taken === undefined || taken < first || taken > last) return [];
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
  const found = blocks.find((block, i) =>
    blocks.slice(0, i).some((other) => block.first <= other.last && other.first <= block.last),
  );
  if (found === undefined) return [];
  return [
    {
      what: `${formatAddress(found.first)} is in more than one of its blocks`,
      where,
      todo: "name each address once",
    },
  ];
}

/** Several blocks of one network have the same fault of their gateway. */
function isFirst({ what }: Problem, at: number, all: readonly Problem[]): boolean {
  return all.findIndex((other) => other.what === what) === at;
}
