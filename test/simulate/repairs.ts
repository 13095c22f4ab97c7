import type { Proxmox } from "../../src/clients/proxmox/client.ts";
import { findUnseen } from "../../src/clients/proxmox/vms.ts";
import type { Config } from "../../src/config/config.ts";
import { observeCluster } from "../../src/observe/observed-cluster.ts";
import { mend, type Asked } from "../../src/recovery/mend.ts";
import { findUntracked, refuseHidden, refuseStrangers } from "../../src/recovery/missing-vms.ts";
import { volumesOn } from "./local-volumes.ts";
import { current } from "./process.ts";
import type { State } from "./state.ts";
import type { World } from "./world.ts";

/** `evergreen repair` with the state of the model, and an operator who does what it says. */
export class Repairs {
  /** Whether the operator destroys what a repair says is a clone of a killed run, or somebody else's. */
  destroysByHand = true;
  /** The pools of nodes that are in no state, as the last repair has said, and the slots that it asks for. */
  readonly toRaise = new Map<string, number>();
  /** A VM out of sight may be a clone of ours: the operator was told to repair again. */
  private mayHide = false;
  private readonly world: World;
  private readonly state: State;

  constructor(world: World, state: State) {
    this.world = world;
    this.state = state;
  }

  /** What `npx pulumi up` mends before its program begins (cli/pre-update.ts). */
  async mendBefore(pve: Proxmox, config: Config): Promise<void> {
    const untracked = await this.lookBefore(pve, config);
    if (untracked > 0 || this.state.isHalfDone()) await this.repair(pve, config, "by an update");
    // The operator was told to repair once the clone is back in sight.
    else if (this.mayHide) {
      this.mayHide = false;
      await this.repair(pve, config, "by hand");
    }
  }

  /**
   * Refuses to begin an update while a VM of the state is out of the token's sight, or another one has its number. When
   * this check fails, the program decides.
   * @returns how many VMs are in no state
   */
  private async lookBefore(pve: Proxmox, config: Config): Promise<number> {
    const { vms: known } = await this.state.books.readState();
    const look = async () => {
      const { hidden, seen } = await findUnseen(pve, config.site.proxmoxPool, known);
      return { hidden, seen, untracked: await findUntracked(pve, known, config) };
    };
    const { seen, hidden, untracked } = (await look().catch(() => undefined)) ?? {
      seen: [],
      hidden: [],
      untracked: [],
    };
    refuseStrangers(known, seen, config);
    refuseHidden(hidden);
    return untracked.length;
  }

  /** Repairs as `evergreen repair` does, with the state of this engine in place of the backend's. */
  async repair(pve: Proxmox, config: Config, asked: Asked): Promise<void> {
    const observed = await observeCluster(pve, config);
    const fence = { check: () => Promise.resolve(), isSure: true };
    const report = (what: string, how: string): void => {
      this.world.story.tell("program", () => `${what} -> ${how}`);
      this.hear(what, how);
    };
    await mend(this.state.books, { pve, config, observed }, { asked, fence, report });
    this.state.deleting.clear();
  }

  /**
   * The operator does what the error of a repair asks for.
   * @returns whether VMs were deleted from the state: the repair has to run again
   */
  async obey(said: string): Promise<boolean> {
    if (said.includes("npx pulumi refresh has the engine forget them")) {
      this.world.story.tell("operator", () => "refreshes the state of the engine");
      await this.state.books.refresh([], []);
    }
    return this.deleteGone(said);
  }

  /** Deletes VMs from the state as an error says, if they are gone: only an operator knows that. */
  private deleteGone(said: string): boolean {
    const named = [...said.matchAll(/pulumi state delete --target-dependents '([^']+)'/g)].map(([, urn = ""]) => urn);
    const gone = named.filter((name) => ![...this.world.dc.vms.values()].some((vm) => vm.name === name));
    for (const name of gone) {
      this.world.story.tell("operator", () => `deletes ${name} from the state of the engine`);
      this.state.forgets(name);
    }
    return gone.length > 0;
  }

  /** The operator does what a repair says of one thing. */
  private hear(what: string, how: string): void {
    this.mayHide ||= how.includes("out of the token's sight");
    const pool = /^VM \d+ \(demo-(.+)-\d+-[0-9a-f]{8}\) is in no state/.exec(what)?.[1];
    if (pool !== undefined && how.includes("raise the `rollout` counter of its pool")) {
      const slots = Number(/give pool .* (\d+) slots again/.exec(how)?.[1] ?? 0);
      this.toRaise.set(pool, Math.max(slots, this.toRaise.get(pool) ?? 0));
      this.moveData(what.split(/[()]/)[1] ?? "");
    }
    const left = /\b[Dd]estroy VM (\d+) .*by hand/.exec(how)?.[1];
    if (left !== undefined && this.destroysByHand) this.destroyByHand(Number(left));
    // The operator knows whether there was ever a cluster.
    const unheard = how.includes("If no server has ever joined, destroy the VM by hand") ? what : "";
    const isFirst = this.world.cluster.control.etcd.members.length === 0;
    if (isFirst && this.destroysByHand) this.destroyByHand(Number(/^VM (\d+) /.exec(unheard)?.[1]));
  }

  /** The operator moves the data that only this node can reach. */
  private moveData(node: string): void {
    const { cluster } = this.world;
    for (const { metadata } of volumesOn(cluster, node)) cluster.objects.remove("persistentvolumes", metadata.name);
  }

  private destroyByHand(vmid: number): void {
    const { dc, watcher } = this.world;
    const vm = dc.vms.get(vmid);
    const by = current.getStore();
    if (vm === undefined || by === undefined) return;
    this.world.story.tell("operator", () => `destroys VM ${vmid} (${vm.name})`);
    this.moveData(vm.name);
    watcher.destroyed(vm, by);
    dc.vms.delete(vmid);
  }
}
