/** Checks of the images that a stack bakes, where more than one value counts. */
import type { Problem } from "../runtime/errors.ts";
import type { Config } from "./schema.ts";

type Bakes = NonNullable<NonNullable<Config["images"]>["bakes"]>;

/** Who has a range of VMIDs, by its path in the configuration. */
interface Ranged {
  path: string;
  vmIds: { first: number; last: number };
}

const PATH = "evergreen:images.bakes";

/** @param owners of other ranges of VMIDs: the servers and the pools */
export function bakeProblems({ images }: Pick<Config, "images">, owners: readonly Ranged[]): Problem[] {
  const bakes = images?.bakes;
  if (bakes === undefined) return [];
  return [...rangeProblems(bakes, owners), ...vmidProblems(bakes), ...twinProblems(bakes)];
}

function rangeProblems({ range }: Bakes, owners: readonly Ranged[]): Problem[] {
  const { first, last } = range;
  const where = `${PATH}.range`;
  if (first > last)
    return [{ what: `the VMIDs of bakes ${first}-${last} end before they begin`, where, todo: "swap first and last" }];
  return owners
    .filter((owner) => meet(range, owner.vmIds))
    .map(({ path, vmIds: its }) => ({
      what: `the VMIDs of bakes ${first}-${last} overlap with ${its.first}-${its.last} of ${path}`,
      where,
      todo: "move one of the ranges: a bake may remove what has a VMID of its range",
    }));
}

const meet = (a: Ranged["vmIds"], b: Ranged["vmIds"]): boolean => a.first <= b.last && b.first <= a.last;

/** Every VMID of the list, with its path. */
const vmidsOf = ({ images }: Bakes): { vmid: number; where: string }[] =>
  images.flatMap(({ vmid, proofVmid }, i) => [
    { vmid, where: `${PATH}.images[${i}].vmid` },
    { vmid: proofVmid, where: `${PATH}.images[${i}].proofVmid` },
  ]);

function vmidProblems(bakes: Bakes): Problem[] {
  const { first, last } = bakes.range;
  if (first > last) return [];
  const all = vmidsOf(bakes);
  return all.flatMap(({ vmid, where }, i): Problem[] => {
    if (vmid < first || vmid > last)
      return [
        {
          what: `VM ${vmid} is none of the VMIDs of bakes`,
          where,
          todo: `choose one from ${first} to ${last}, or make ${PATH}.range wider`,
        },
      ];
    const twin = all.slice(0, i).find((one) => one.vmid === vmid);
    if (twin === undefined) return [];
    return [
      {
        what: `VM ${vmid} is for another template or clone already`,
        where: `${where} and ${twin.where}`,
        todo: "give each a VMID of its own: images are baked at the same time",
      },
    ];
  });
}

function twinProblems({ images, place }: Bakes): Problem[] {
  const hostOf = ({ host = place.host }: Bakes["images"][number]): string => host;
  return images.flatMap((own, i): Problem[] => {
    const { image } = own;
    const twin = images.findIndex((one) => one.image === image && hostOf(one) === hostOf(own));
    if (twin === i) return [];
    return [
      {
        what: `${image} is listed twice`,
        where: `${PATH}.images[${twin}].image and ${PATH}.images[${i}].image`,
        todo: "remove one of them: an image has one template on a host; name another host if it shall have one there too",
      },
    ];
  });
}

/** Checks two clusters of one program: what one bakes, the other may not. */
export function bakesBetween(one: Config, other: Config, owners: readonly Ranged[]): Problem[] {
  const [own, its] = [one.images?.bakes, other.images?.bakes];
  const ranges = own === undefined ? [] : rangeProblems(own, owners);
  if (own === undefined || its === undefined) return ranges;
  const images = new Set(its.images.map(({ image }) => image));
  const twins = own.images.flatMap(({ image }, i): Problem[] => {
    if (!images.has(image)) return [];
    return [
      {
        what: `${image} is baked by the cluster ${other.cluster} of this program`,
        where: `${PATH}.images[${i}].image`,
        todo: "list it in one of them: the other one finds the template, and runs after it",
      },
    ];
  });
  if (!meet(own.range, its.range) || twins.length > 0) return [...ranges, ...twins];
  return [
    ...ranges,
    {
      what: `the VMIDs of bakes are also those of the cluster ${other.cluster}`,
      where: `${PATH}.range`,
      todo: "move one of the ranges: a bake touches no VMID but those of its range",
    },
  ];
}
