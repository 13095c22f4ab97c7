/** Turns orders from the control socket into faults of the data centre. */
import type { Boundaries, Crossing, Moment } from "./boundaries.ts";
import type { FaultOrder, OutsideOrder } from "./control.ts";
import type { DataCentre, Fault, Request } from "./proxmox/data-centre.ts";
import { happen, isOutside, problem } from "./outside.ts";
import { handle } from "./proxmox/handle.ts";
import type { Vm } from "./proxmox/model.ts";
import type { RackGuests } from "./guest/rack.ts";
import { addTemplate, labImage, seedVm, site, templateTags } from "./proxmox/site.ts";
import { usedBytes } from "./proxmox/storages.ts";
import { Strikes, struckBy } from "./strikes.ts";
import type { ImageContent } from "./types.ts";

/** Counts matches from the order on; true for `times` matches, beginning with the n-th. */
function counter(nth: number, times: number): () => boolean {
  let seen = 0;
  return () => {
    seen += 1;
    return seen >= nth && seen < nth + times;
  };
}

type ByHandOrder = Exclude<Extract<FaultOrder, { vm: number | string }>, OutsideOrder>;

export class Faults {
  readonly strikes = new Strikes();
  private readonly dataCentre: DataCentre;
  private readonly guests: Pick<RackGuests, "snapshotFault" | "bakeFaults" | "registryPassword" | "balancers">;
  private rules: ((moment: Moment, request: Request) => Fault | undefined)[] = [];
  private taskRules: ((type: string) => string | undefined)[] = [];
  /** Undo functions of orders that are not rules. */
  private undo: (() => void)[] = [];
  private readonly boundaries: Boundaries;
  private readonly crossings = new WeakMap<Request, Crossing>();

  constructor(
    dataCentre: DataCentre,
    guests: Pick<RackGuests, "snapshotFault" | "bakeFaults" | "registryPassword" | "balancers" | "boundaries">,
  ) {
    this.dataCentre = dataCentre;
    this.guests = guests;
    this.boundaries = guests.boundaries;
    dataCentre.fault = (moment, request) => {
      // Every rule counts every request, so that two orders do not disturb each other's numbers.
      const rules = [...this.rules, (now: Moment, asked: Request) => this.boundary(now, asked)];
      const wanted = rules.map((rule) => rule(moment, request)).filter((fault) => fault !== undefined);
      return wanted.length > 0 ? wanted.reduce((all, fault) => ({ ...all, ...fault })) : undefined;
    };
    dataCentre.tasks.fault = (task) => this.taskRules.map((rule) => rule(task.type)).find((text) => text !== undefined);
  }

  /** Ends all rules and undoes the other orders; a VM that was changed manually stays changed. */
  clear(): void {
    this.rules = [];
    this.taskRules = [];
    this.boundaries.clear();
    for (const back of this.undo.reverse()) back();
    this.undo = [];
  }

  /** Carries out an order. @returns what was done, as a line */
  async order(order: FaultOrder): Promise<string> {
    const said = await this.carryOut(order);
    const struck = struckBy(order);
    if (struck !== undefined) this.strikes.count(order.kind, struck);
    return said;
  }

  private async carryOut(order: FaultOrder): Promise<string> {
    if (isOutside(order)) {
      const { said, undo } = await happen(this.dataCentre, order, (id) => this.find(id));
      if (undo) this.undo.push(undo);
      return said;
    }
    switch (order.kind) {
      case "full-storage":
        return this.fillStorage(order.storage ?? site.storage);
      case "image":
        return this.image(order.template, order.fault);
      case "bake":
        this.guests.bakeFaults = [...this.guests.bakeFaults, order];
        this.undo.push(() => (this.guests.bakeFaults = []));
        return `guests of bakes: ${order.fault}${"stage" in order ? ` in ${order.stage}` : ""}`;
      case "snapshot":
        this.guests.snapshotFault = order.fault;
        this.undo.push(() => (this.guests.snapshotFault = undefined));
        return `snapshots of etcd: ${order.fault}`;
      case "registry":
        this.guests.registryPassword = order.password;
        return "the private registry expects another password";
      case "registration-down":
        for (const balancer of this.guests.balancers) {
          balancer.deaf = true;
          this.undo.push(() => (balancer.deaf = false));
        }
        return "nobody is reached through the registration address";
      case "revoke-privilege":
        this.revoke(order.privilege);
        return `${order.privilege} is taken from ${site.rolloutToken}`;
      case "revoke-token":
        this.dataCentre.revokeToken(site.rolloutToken);
        return `${site.rolloutToken} is revoked`;
      case "stranger":
        return this.stranger(order);
      case "template":
        return await this.template(
          order.vmid,
          labImage(order.version, order.rke2, order.units && { units: order.units }),
        );
      case "delete-vm":
      case "stop-vm":
      case "start-vm":
      case "rename-vm":
      case "tag-vm":
      case "console":
        return this.byHand(order);
      case "latency":
      case "answer":
      case "drop":
        return this.rule(order);
      case "hold":
        this.boundaries.hold(order);
        return `${order.effect} number ${order.nth} is held ${order.when} its effect`;
      case "fail-task": {
        const hit = counter(order.nth, order.times ?? 1);
        this.taskRules.push((type) => {
          if (type !== order.type || !hit()) return undefined;
          this.strikes.count("fail-task", type);
          return order.text;
        });
        return `${order.type} number ${order.nth} ends with: ${order.text}`;
      }
    }
  }

  private rule(order: Extract<FaultOrder, { kind: "latency" | "answer" | "drop" }>): string {
    const pattern = new RegExp(`^(?:${order.match ?? ".*"})$`);
    const matches = (request: Request) =>
      pattern.test(`${request.method} ${request.path}`) || pattern.test(`${request.method} ${request.endpoint}`);
    const struck = <T>({ method, endpoint }: Request, fault: T): T => {
      this.strikes.count(order.kind, `${method} ${endpoint}`);
      return fault;
    };
    if (order.kind === "latency") {
      const { milliseconds: delay } = order;
      this.rules.push((moment, request) =>
        moment === "before" && matches(request) ? struck(request, { delay }) : undefined,
      );
      return `every ${order.match ?? "request"} takes ${delay} ms more`;
    }
    const hit = counter(order.nth, order.times ?? 1);
    const moment = order.kind === "drop" ? order.when : "before";
    const fault: Fault =
      order.kind === "drop" ? { drop: true } : { answer: { status: order.status, reason: order.reason } };
    this.rules.push((now, request) =>
      now === moment && matches(request) && hit() ? struck(request, fault) : undefined,
    );
    return `${order.match} number ${order.nth} meets ${order.kind === "drop" ? `a cut ${moment} its effect` : order.reason}`;
  }

  /** Holds a request of the tool under test, whichever of its tokens it has, at the boundary of a hold order. */
  private boundary(moment: Moment, request: Request): Fault | undefined {
    if (request.token !== site.rolloutToken && request.token !== site.bakeToken) return undefined;
    const crossing = this.crossings.get(request) ?? this.boundaries.enter(request, request.token === site.bakeToken);
    this.crossings.set(request, crossing);
    return { hold: () => crossing.at(moment) };
  }

  private fillStorage(id: string): string {
    const storage = this.dataCentre.storages.get(id);
    if (!storage) throw problem(`storage ${id}`, [...this.dataCentre.storages.keys()]);
    const before = storage.baseUsed;
    storage.baseUsed += storage.total - usedBytes(storage);
    this.undo.push(() => (storage.baseUsed = before));
    return `storage ${id} is full`;
  }

  private image(template: string, fault: Extract<FaultOrder, { kind: "image" }>["fault"]): string {
    const vm = this.find(template);
    const contents = this.contentsOf(vm);
    for (const content of contents) {
      const before = { ...content };
      delete content.fault;
      content.agent = fault !== "no-agent";
      if (fault !== "no-agent" && fault !== "none") content.fault = fault;
      this.undo.push(() => {
        delete content.fault;
        Object.assign(content, before);
      });
    }
    return `guests of ${template}: ${fault}`;
  }

  /** Images on the volumes of a template; linked clones share the object. */
  private contentsOf(vm: Vm): ImageContent[] {
    return [...this.dataCentre.storages.values()]
      .flatMap((storage) => [...storage.volumes.values()])
      .filter((volume) => volume.vmid === vm.vmid)
      .map((volume) => volume.image)
      .filter((image) => image !== undefined);
  }

  private revoke(privilege: string): void {
    const had = this.dataCentre.grants.filter(
      (grant) => grant.who === site.rolloutToken && grant.privileges.has(privilege),
    );
    if (had.length === 0) throw problem(`privilege ${privilege} of ${site.rolloutToken}`, []);
    this.dataCentre.removePrivilege(site.rolloutToken, privilege);
    this.undo.push(() => had.forEach((grant) => grant.privileges.add(privilege)));
  }

  private async template(vmid: number, image: ImageContent): Promise<string> {
    if (this.dataCentre.vms.has(vmid)) throw problem(`free VMID ${vmid}`, []);
    const seed = { vmid, name: image.name, pool: site.templates, image, tags: templateTags(image) };
    this.dataCentre.tell("created", await addTemplate(this.dataCentre, seed), site.rootToken);
    return `template ${image.name} with ${image.rke2} is there`;
  }

  private stranger(order: Extract<FaultOrder, { kind: "stranger" }>): string {
    const { vmid, name = "database" } = order;
    if (this.dataCentre.vms.has(vmid)) throw problem(`free VMID ${vmid}`, []);
    const vm = seedVm(this.dataCentre, { ...order, name });
    this.dataCentre.tell("created", vm, site.rootToken);
    return `VM ${vmid} (${name}) belongs to somebody else`;
  }

  /** Manual actions of an operator, without the tool. */
  private async byHand(order: ByHandOrder): Promise<string> {
    const vm = this.find(order.vm);
    const before = `VM ${vm.vmid} (${String(vm.config.get("name"))})`;
    switch (order.kind) {
      case "rename-vm":
        await this.asRoot("PUT", vm, "/config", { name: order.name });
        return `${before} is now called ${order.name}`;
      case "tag-vm":
        await this.asRoot("PUT", vm, "/config", { tags: order.tags.join(";") });
        return `${before} has other tags now`;
      case "console":
        return await this.console(vm, order.command);
      case "start-vm":
        await this.asRoot("POST", vm, "/status/start");
        return `${before} was started by hand`;
      case "stop-vm":
        await this.asRoot("POST", vm, "/status/stop");
        return `${before} was powered off by hand`;
      case "delete-vm":
        if (vm.power) await this.asRoot("POST", vm, "/status/stop");
        await this.asRoot("DELETE", vm, "");
        return `${before} was deleted by hand`;
    }
  }

  private async console(vm: Vm, command: string): Promise<string> {
    if (!vm.power) throw problem(`console of VM ${vm.vmid}: it is off`, []);
    return await vm.power.guest.run(command);
  }

  /** Calls the API as root and waits for the end of its task. */
  private async asRoot(method: string, vm: Vm, path: string, params: Record<string, string> = {}): Promise<void> {
    const { status, reason, body } = await handle(this.dataCentre, {
      method,
      path: `nodes/${vm.node}/qemu/${vm.vmid}${path}`,
      params: new Map(Object.entries(params).map(([name, value]) => [name, [value]])),
      authorization: `PVEAPIToken=${this.dataCentre.credential(site.rootToken)}`,
    });
    const task = this.dataCentre.tasks.all.get(String(body?.data));
    await task?.done;
    const failure = status >= 400 ? reason : task && task.exitstatus !== "OK" ? task.exitstatus : undefined;
    if (failure !== undefined) throw new Error(`${method} ${path} of VM ${vm.vmid}: ${failure}`);
  }

  private find(id: number | string): Vm {
    const all = [...this.dataCentre.vms.values()];
    const vm = all.find((vm) => vm.vmid === id || vm.config.get("name") === id);
    if (!vm)
      throw problem(
        `VM ${id}`,
        all.map((vm) => String(vm.config.get("name") ?? vm.vmid)),
      );
    return vm;
  }
}
