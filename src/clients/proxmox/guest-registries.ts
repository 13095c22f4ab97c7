import { guest, unitOfRegistries } from "../../../images/contract.ts";
import { registryFiles, type Registries, type RegistryFiles } from "../../domain/model/registries.ts";
import { isNoSuchFile, readFile } from "./agent.ts";
import type { Proxmox } from "./client.ts";

interface Vm {
  vmid: number;
  host: string;
}

/** The files that a guest gets. */
export const filesOf = (registries: Registries): RegistryFiles => registryFiles(registries, guest.registryPems);

/** The digest of the registries that RKE2 in this guest has started with; empty: with none of ours. */
export async function readLoaded(pve: Proxmox, vm: Vm): Promise<string> {
  return (await readOrNothing(pve, vm, guest.registriesLoaded)).trim();
}

/**
 * What `registriesLoaded` has while files are written and before RKE2 is told to restart: a run that ends in between
 * leaves a guest of which the next one knows that no restart is to come.
 */
export const notAsked = "nothing of it yet";

/** The end of RKE2's log when its unit says that it does not start with these registries. Undefined: it does not say so. */
export async function readFailure(pve: Proxmox, vm: Vm, digest: string): Promise<string[] | undefined> {
  const [of, ...log] = (await readOrNothing(pve, vm, guest.registriesFailed)).trimEnd().split("\n");
  return of === digest ? log : undefined;
}

/** Whether its unit was ever told to restart RKE2, so that registries of ours may be at RKE2's default place. */
export async function hasReloadOrder(pve: Proxmox, vm: Vm): Promise<boolean> {
  return (await readOrNothing(pve, vm, guest.registriesReload)) !== "";
}

/**
 * Whether its RKE2 was to be restarted for other registries, and nothing says that this is over: it may happen at any
 * moment.
 */
export async function isReloading(pve: Proxmox, vm: Vm): Promise<boolean> {
  return await isOrdered(pve, vm, await findFile(pve, vm, guest.registriesLoaded));
}

/** @param loaded what `registriesLoaded` has: an order empties it first, so a guest without that file never got one */
const isOrdered = async (pve: Proxmox, vm: Vm, loaded: string | undefined): Promise<boolean> =>
  loaded?.trim() === "" && (await hasReloadOrder(pve, vm));

/** Whether its files are those of registries that its RKE2 has not started with, although it may have tried to. */
export async function isUnsettled(pve: Proxmox, vm: Vm): Promise<boolean> {
  const loaded = await findFile(pve, vm, guest.registriesLoaded);
  return loaded?.trim() === notAsked || (await isOrdered(pve, vm, loaded));
}

/**
 * Whether the registries of a guest are as they have to be.
 * @param wanted undefined: none are configured, and those that RKE2 has started with stay
 */
export async function isAsWanted(pve: Proxmox, vm: Vm, wanted: Registries | undefined): Promise<boolean> {
  if (wanted === undefined) return !(await isUnsettled(pve, vm));
  return (await readLoaded(pve, vm)) === filesOf(wanted).digest;
}

/** What a guest gets that has to get any, when none are configured: nothing that its RKE2 could not start with. */
export const noRegistries: Registries = {};

/** Why these registries cannot be given to a guest in place: its image does not allow it. Undefined: they can. */
export async function explainFixed(pve: Proxmox, vm: Vm, registries: Registries): Promise<string | undefined> {
  if (!(await hasUnit(pve, vm))) return "the image promises no unit that reads others (docs/production.md, section 4)";
  for (const path of filesOf(registries).expected)
    if (!(await hasFile(pve, vm, path))) return `the image has no ${path}, which they name`;
  return undefined;
}

async function hasUnit(pve: Proxmox, vm: Vm): Promise<boolean> {
  try {
    const { units } = JSON.parse(await readOrNothing(pve, vm, guest.image)) as { units?: unknown };
    return Array.isArray(units) && units.includes(unitOfRegistries);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    return false;
  }
}

async function hasFile(pve: Proxmox, vm: Vm, path: string): Promise<boolean> {
  return await readFile(pve, vm, path).then(
    () => true,
    (error: unknown) => {
      if (isNoSuchFile(error)) return false;
      throw error;
    },
  );
}

async function readOrNothing(pve: Proxmox, vm: Vm, file: string): Promise<string> {
  return (await findFile(pve, vm, file)) ?? "";
}

/** @returns undefined when there is no such file */
async function findFile(pve: Proxmox, vm: Vm, file: string): Promise<string | undefined> {
  return await readFile(pve, vm, file).then(String, (error: unknown) => {
    if (isNoSuchFile(error)) return undefined;
    throw error;
  });
}
