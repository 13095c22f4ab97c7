/** The networks that a new cluster finds on the bridge of its hosts. */
import { mayBelongToNode, parseAddress, parseBlock, sizeOf } from "../src/domain/model/address.ts";
import type { SiteSurvey } from "../src/observe/site-survey.ts";

export interface Network {
  prefixLength?: number;
  gateway?: string;
}

/** The network of the hosts on the bridge, when the first address is in it. */
export function networkOf(
  { bridges }: SiteSurvey,
  hosts: readonly string[],
  bridge: string,
  first: string | undefined,
): Network {
  const address = first === undefined ? undefined : parseAddress(first);
  if (address?.family !== 4) return {};
  const all = hosts.flatMap((host) => bridges.get(host)?.filter(({ name }) => name === bridge) ?? []);
  for (const { cidr = "", gateway } of all) {
    const [own = "", length = ""] = cidr.split("/");
    const [base, prefixLength] = [parseAddress(own), Number(length)];
    if (base?.family !== 4) continue;
    const size = sizeOf(base, prefixLength);
    if (base.value / size !== address.value / size) continue;
    return { prefixLength, ...(gateway === undefined ? {} : { gateway }) };
  }
  return {};
}

export interface Network6 {
  /** Whether the hosts have IPv6 addresses on the bridge. */
  isThere: boolean;
  /** Of the network of the first address; otherwise of any that is there. */
  prefixLength?: number;
  gateway?: string;
}

/** The IPv6 network of the hosts on the bridge: that of the first address, or any when there is none. */
export function network6Of(
  { bridges }: SiteSurvey,
  hosts: readonly string[],
  bridge: string,
  first: string | undefined,
): Network6 {
  const found = hosts.flatMap((host) =>
    (bridges.get(host) ?? []).flatMap(({ name, cidr6 = "", gateway6: gateway }) => {
      const [own = "", length = ""] = cidr6.split("/");
      const [block, prefixLength] = [parseBlock(own), Number(length)];
      if (name !== bridge || block?.family !== 6 || !mayBelongToNode(block)) return [];
      return [{ value: block.first, prefixLength, ...(gateway === undefined ? {} : { gateway }) }];
    }),
  );
  const wanted = first === undefined ? undefined : parseAddress(first);
  const match = found.find(
    ({ value, prefixLength }) =>
      wanted === undefined ||
      (wanted.family === 6 && value / sizeOf(wanted, prefixLength) === wanted.value / sizeOf(wanted, prefixLength)),
  );
  if (match === undefined) return { isThere: found.length > 0 };
  const { prefixLength, gateway } = match;
  return { isThere: true, prefixLength, ...(gateway === undefined ? {} : { gateway }) };
}

/** What an operator should know of IPv6. */
export function notesOn6({ isThere, prefixLength }: Network6, { firstAddress6 }: { firstAddress6?: string }): string[] {
  if (firstAddress6 === undefined)
    return isThere
      ? [
          "the hosts have IPv6 on the bridge, and the cluster has IPv4 alone: it has both families from its creation on or never. Take the # off the lines of IPv6 if it shall have both",
        ]
      : [];
  return prefixLength === undefined
    ? [
        `the gateway and the prefix length of the network of ${firstAddress6} are not known: look at site.gateway6 and site.prefixLength6`,
      ]
    : [];
}
