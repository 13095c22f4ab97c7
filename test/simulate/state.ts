import { type KnownVm, VM_TYPE } from "../../src/recovery/engine-state.ts";
import { mayForget } from "../../src/recovery/missing-vms.ts";
import type { Books } from "../../src/recovery/mend.ts";
import type { ObservedCluster } from "../../src/observe/observed-cluster.ts";
import type { DataCentre } from "./data-centre.ts";
import type { MadeVm } from "./provider.ts";

/** What the state has of a resource, as of its last success. */
interface Resource {
  vm?: MadeVm;
  /** Its create made the VM and failed after that: a later update configures nothing more. */
  unfinished?: true;
  step?: { environment: Record<string, string>; stdout: string; deleteVerb?: string };
}

/** The resources of a state, by URN. */
export type Resources = ReadonlyMap<string, Resource>;

/** The state of a stack, as the backend of the engine keeps it. */
export class State {
  readonly resources = new Map<string, Resource>();
  /** Creates that have begun and whose result is unknown. */
  readonly pending = new Map<string, MadeVm>();
  /** Deletes that have begun and whose result is unknown. */
  readonly deleting = new Set<string>();
  /** Environment of the cluster's guard, which is there once an update has succeeded, until a destroy deletes it. */
  guard: Record<string, string> | undefined;
  /** Whether a destroy has deleted it: the next update makes it anew. */
  hasLostGuard = false;
  private readonly dc: DataCentre;

  constructor(dc: DataCentre) {
    this.dc = dc;
  }

  /** Adds a VM that an earlier run made. */
  knows(vm: MadeVm): void {
    this.resources.set(vm.name, { vm });
  }

  /** Removes a node's VM and steps, as the import of an older state does. */
  forgets(name: string): void {
    for (const urn of [name, `${name}-claim`, `${name}-join`]) this.resources.delete(urn);
  }

  /** Forgets every VM that is gone, as `npx pulumi destroy` has the engine do. */
  forgetMissing(): void {
    for (const [urn, { vm }] of [...this.resources]) if (vm && !this.dc.vms.has(vm.vmid)) this.forgets(urn);
  }

  /** A copy, as the backend keeps one of each update. */
  copy(): Resources {
    return new Map(this.resources);
  }

  /** Runs `pulumi stack import` with an older state. */
  imports(older: Resources): void {
    this.resources.clear();
    for (const [urn, resource] of older) this.resources.set(urn, resource);
    this.pending.clear();
    this.deleting.clear();
  }

  /** Whether it has the claim of a node. */
  hasClaimed(name: string): boolean {
    return this.resources.has(`${name}-claim`);
  }

  /** Whether something has begun whose result is unknown, or a VM was made and nothing after it has succeeded. */
  isHalfDone(): boolean {
    const vms = [...this.resources].filter(([, { vm }]) => vm);
    const isHalf = vms.some(([urn, { unfinished }]) => unfinished === true || !this.hasClaimed(urn));
    return this.pending.size + this.deleting.size > 0 || isHalf;
  }

  /** Forgets VMs that are gone and were no members, as `npx pulumi up` has the engine do. */
  forgetGone(observed: ObservedCluster): void {
    const gone = [...this.resources].flatMap(([urn, { vm }]) =>
      vm && !this.dc.vms.has(vm.vmid) ? [{ ...vm, urn }] : [],
    );
    if (mayForget(gone, observed)) for (const { urn } of gone) this.resources.delete(urn);
  }

  /** What `evergreen repair` reads and changes in it. */
  readonly books: Books = {
    readState: () => {
      const known = ([urn, { vm }]: [string, Resource]): KnownVm[] =>
        vm ? [{ ...vm, urn, ...(this.hasClaimed(urn) ? { claimed: true as const } : {}) }] : [];
      const all = [...this.resources];
      return Promise.resolve({
        pending: [...this.pending.values()].map(({ name, vmid }) => ({
          urn: name,
          type: VM_TYPE,
          inputs: { name, vmId: vmid },
        })),
        deleting: all.filter(([urn]) => this.deleting.has(urn)).flatMap(known),
        vms: all.flatMap(known),
        unfinished: all.filter(([urn, { unfinished }]) => unfinished && !this.hasClaimed(urn)).flatMap(known),
        root: ["stack"],
      });
    },
    refresh: (adopted, urns) => {
      const { dc } = this;
      for (const { urn } of adopted) {
        const vm = this.pending.get(urn);
        if (vm) this.resources.set(urn, { vm });
      }
      this.pending.clear();
      const refreshed = [...this.resources].filter(
        ([urn]) => adopted.length > 0 || urns.length === 0 || urns.includes(urn),
      );
      for (const [urn, { vm }] of refreshed) {
        if (vm && dc.silent.has(dc.vms.get(vm.vmid)?.host ?? ""))
          return Promise.reject(new Error("Network is unreachable"));
        if (vm && !dc.vms.has(vm.vmid)) this.resources.delete(urn);
      }
      return Promise.resolve();
    },
    refreshOnly: (urns) => {
      for (const urn of urns) {
        const known = this.resources.get(urn);
        const now = known?.vm && this.dc.vms.get(known.vm.vmid);
        if (known?.vm && now) this.resources.set(urn, { ...known, vm: { ...known.vm, host: now.host } });
      }
      return Promise.resolve();
    },
  };
}
