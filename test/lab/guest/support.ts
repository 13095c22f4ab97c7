/** A rack with guests, driven as an operator drives them: agent calls and the Kubernetes API. */
import { createHash, randomBytes, randomUUID } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parse, stringify } from "yaml";
import { labBinaries } from "../../../cli/lab.ts";
import { Deadline } from "../../../src/runtime/deadline.ts";
import type { GuestEvent } from "../../../lab/guest/context.ts";
import { RackGuests } from "../../../lab/guest/rack.ts";
import { images } from "../../../lab/images.ts";
import { Kube } from "../../../lab/kube.ts";
import type { KubeObject } from "../../../lab/kube.ts";
import { fast } from "../../../lab/profiles.ts";
import type { Guest, ImageContent, Machine } from "../../../lab/types.ts";
import { toolchain } from "../../../tools/index.ts";

export interface Node extends KubeObject {
  spec: { taints?: { key: string; effect: string }[] };
  status: { conditions: { type: string; status: string; reason: string }[]; nodeInfo: Record<string, string> };
}

export interface Pod extends KubeObject {
  spec: { nodeName?: string };
  status: { phase?: string; podIP?: string; containerStatuses?: { restartCount: number; ready: boolean }[] };
}

export const joinLog = "/var/log/evergreen/join.log";

export class TestRack {
  readonly prefix: string;
  readonly rack: RackGuests;
  readonly events: GuestEvent[] = [];
  private readonly directory: string;
  private client: Kube | undefined;

  private constructor(prefix: string, directory: string, rack: RackGuests) {
    this.prefix = prefix;
    this.directory = directory;
    this.rack = rack;
    rack.on("guest", (event) => this.events.push(event));
  }

  static async start(prefix: string): Promise<TestRack> {
    const directory = await mkdtemp(join(tmpdir(), "evergreen-rack-"));
    const binaries = labBinaries(await toolchain({ parts: ["lab"], quiet: true }));
    const rack = new RackGuests({ prefix, directory, binaries, profile: fast });
    await rack.start();
    return new TestRack(prefix, directory, rack);
  }

  async close(): Promise<void> {
    await this.client?.close();
    await this.rack.close();
    await rm(this.directory, { recursive: true });
  }

  get supervisor(): string {
    return `https://${this.prefix}.0.5:9345`;
  }

  machine(vmid: number, name: string, image: Partial<ImageContent> = {}): Machine {
    const last = vmid < 1100 ? 11 + (vmid - 1000) : 101 + (vmid - 1100);
    return {
      vmid,
      name,
      uuid: randomUUID(),
      cores: 2,
      memoryMiB: 4096,
      image: { ...images["1.0.0"], ...image },
      cloudInit: { hostname: name, address: `${this.prefix}.0.${last}`, gateway: `${this.prefix}.0.1` },
      disk: new Map(),
    };
  }

  /** Powers a machine on and waits for its agent. */
  async boot(machine: Machine): Promise<Guest> {
    const guest = this.rack.boot(machine);
    await this.until(`agent of ${machine.name}`, () => Promise.resolve(guest.agentUp));
    return guest;
  }

  /** Writes join data, then the marker. */
  order(guest: Guest, role: "server" | "agent", fragment: object): void {
    const text = stringify(fragment);
    const hash = createHash("sha256").update(text).digest("hex");
    guest.writeFile("/etc/evergreen/join.yaml", Buffer.from(text));
    guest.writeFile("/etc/evergreen/join.ready", Buffer.from(`${role} ${hash}\n`));
  }

  wipe(guest: Guest): void {
    guest.writeFile("/etc/evergreen/join.yaml", Buffer.from(""));
    guest.writeFile("/etc/evergreen/join.ready", Buffer.from(""));
  }

  /** Boots a machine and joins it; resolves when its Node is Ready. */
  async join(machine: Machine, role: "server" | "agent", token?: string, more: object = {}): Promise<Guest> {
    const guest = await this.boot(machine);
    const where = token === undefined ? {} : { server: this.supervisor, token };
    this.order(guest, role, { "node-name": machine.name, ...where, ...more });
    await this.ready(machine.name);
    return guest;
  }

  /** The administrator's client. */
  get kube(): Kube {
    this.client ??= this.connect();
    return this.client;
  }

  async node(name: string): Promise<Node | undefined> {
    const { status, body } = await this.kube.call<Node>("GET", `/api/v1/nodes/${name}`);
    return status === 200 ? body : undefined;
  }

  async ready(name: string, wanted = "True"): Promise<void> {
    await this.until(`${name} to be Ready=${wanted}`, async () => {
      if (this.rack.adminKubeconfig === undefined || this.rack.apiServers.length === 0) return false;
      const node = await this.node(name).catch(() => undefined);
      return node?.status.conditions.some(({ type, status }) => type === "Ready" && status === wanted) ?? false;
    });
  }

  /** Waits until a guest's join log says something. */
  async logged(guest: Guest, text: string | RegExp): Promise<void> {
    const log = () => {
      try {
        return guest.readFile(joinLog).toString();
      } catch {
        // It is made with its first line.
        return "";
      }
    };
    await this.until(`join log to say ${String(text)}`, () =>
      Promise.resolve(typeof text === "string" ? log().includes(text) : text.test(log())),
    );
  }

  /** A bootstrap token, as the Join step mints it. @param seconds until it expires */
  async mint(seconds = 600): Promise<string> {
    const [id, secret] = [randomBytes(3).toString("hex"), randomBytes(8).toString("hex")];
    const stringData = {
      "token-id": id,
      "token-secret": secret,
      "usage-bootstrap-authentication": "true",
      expiration: new Date(Date.now() + seconds * 1000).toISOString(),
      "auth-extra-groups": "system:bootstrappers:rke2:default-node-token",
    };
    const secretObject = {
      metadata: { name: `bootstrap-token-${id}` },
      type: "bootstrap.kubernetes.io/token",
      stringData,
    };
    await this.kube.call("POST", "/api/v1/namespaces/kube-system/secrets", secretObject);
    return `${id}.${secret}`;
  }

  async pods(selector: string): Promise<Pod[]> {
    const path = `/api/v1/namespaces/default/pods?labelSelector=${encodeURIComponent(selector)}`;
    return (await this.kube.call<{ items: Pod[] }>("GET", path)).body.items;
  }

  async until(what: string, condition: () => Promise<boolean>, seconds = 90): Promise<void> {
    await new Deadline(what, seconds).poll(30, async () => ((await condition().catch(() => false)) ? true : undefined));
  }

  private connect(): Kube {
    interface Config {
      clusters: { cluster: { server: string; "certificate-authority-data": string } }[];
      users: { user: { "client-certificate-data": string; "client-key-data": string } }[];
    }
    const config = parse(this.rack.adminKubeconfig ?? "") as Config;
    const [cluster, user] = [config.clusters[0]?.cluster, config.users[0]?.user];
    if (!cluster || !user) throw new Error("no kubeconfig");
    const pem = (text: string) => Buffer.from(text, "base64").toString();
    return new Kube({
      server: cluster.server,
      ca: pem(cluster["certificate-authority-data"]),
      cert: pem(user["client-certificate-data"]),
      key: pem(user["client-key-data"]),
    });
  }
}
