import { messageOf } from "../../src/runtime/errors.ts";
import { tagsOf } from "../../src/clients/proxmox/tags.ts";
import { parseNodeName } from "../../src/domain/model/generation.ts";
import type { Process } from "./process.ts";
import { sight } from "./proxmox-api.ts";
import type { World } from "./world.ts";

/** A VM as the engine's state has it. */
export interface MadeVm {
  name: string;
  vmid: number;
  host: string;
}

/** The clone was made, and its configuration failed: the engine has it in its state as if it were configured. */
export class Unconfigured extends Error {}

const looksMs = 1000;

/** The Proxmox provider: clones, then configures; destroys by VMID, without checking the VM's identity. */
export class Provider {
  private readonly world: World;
  private readonly cluster: string;

  constructor(world: World, cluster: string) {
    this.world = world;
    this.cluster = cluster;
  }

  async create(by: Process, vm: MadeVm, image: string): Promise<void> {
    const { dc } = this.world;
    const upid = await this.request(by, "clone", `clones ${image} as ${vm.name} (VM ${vm.vmid})`, () => {
      if (dc.vms.has(vm.vmid)) throw new Error(`unable to create VM ${vm.vmid}: config file already exists`);
      const template = [...dc.vms.values()].find(({ name, template }) => template && name === image);
      if (template === undefined) throw new Error(`no template ${image}`);
      if (dc.faults.taskEnd().startsWith("can't lock")) throw new Error("can't lock file - got timeout");
      const made = dc.clone(template, { ...vm, pool: "nodes" });
      return made;
    });
    await this.task(upid);
    await this.configure(by, vm).catch((error: unknown) => {
      throw new Unconfigured(messageOf(error));
    });
  }

  private async configure(by: Process, vm: MadeVm): Promise<void> {
    const { dc } = this.world;
    await this.request(by, "configure", `configures ${vm.name}`, () => {
      const made = dc.vms.get(vm.vmid);
      const { pool = "", slot = 0, generation = "" } = parseNodeName(vm.name, this.cluster) ?? {};
      if (made === undefined) throw new Error(`VM ${vm.vmid} is gone`);
      made.tags = tagsOf({ cluster: this.cluster, pool, slot, generation });
      made.revision += 1;
    });
  }

  /** @throws Error when Proxmox does not know the VM: a destroy of a missing VM fails until a refresh */
  async destroy(by: Process, { vmid, name }: MadeVm): Promise<void> {
    const { dc, watcher } = this.world;
    const upid = await this.request(by, "destroy", `destroys VM ${vmid} (${name})`, () => {
      const vm = dc.vms.get(vmid);
      if (vm === undefined || !sight.includes(vm.pool ?? ""))
        throw new Error(`403 Permission check failed (/vms/${vmid}, VM.Audit)`);
      watcher.destroyed(vm, by);
      if (dc.faults.taskEnd().startsWith("can't lock")) throw new Error("can't lock file - got timeout");
      return dc.destroy(vm);
    });
    await this.task(upid);
  }

  private async request<T>(by: Process, method: string, what: string, effect: () => T): Promise<T> {
    const { world } = this;
    const fault = world.faults.of({ api: "provider", method, path: "", query: new URLSearchParams() });
    await world.time.sleep(20 + (fault?.ms ?? 0));
    world.onBoundary(by, "before");
    await alive(by);
    world.story.tell(
      by.name,
      () => `${what}${fault?.refusal ? " (fault: refused)" : fault?.lost ? " (fault: answer lost)" : ""}`,
    );
    if (fault?.refusal)
      throw new Error(`received an HTTP ${fault.refusal.status} response: ${fault.refusal.reason ?? ""}`);
    const result = effect();
    world.onBoundary(by, "after");
    await alive(by);
    if (fault?.lost) throw new Error("failed to perform HTTP request: EOF");
    return result;
  }

  private async task(upid: string): Promise<void> {
    for (;;) {
      await this.world.time.sleep(looksMs);
      const exit = this.world.dc.tasks.get(upid)?.exit;
      if (exit === "OK" || exit?.startsWith("WARNINGS")) return;
      if (exit !== undefined) throw new Error(exit);
    }
  }
}

/** Never returns for a process that was killed. */
async function alive(process: Process): Promise<void> {
  if (process.isDead()) await new Promise<never>(() => undefined);
}
