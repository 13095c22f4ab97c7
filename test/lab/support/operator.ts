/** An operator who builds and empties nodes by hand, with nothing but the two APIs: the tests' own small Evergreen. */
import { createHash, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { Agent, request } from "undici";
import { Deadline } from "../../../src/runtime/deadline.ts";
import { Kube, readKubeconfig, type KubeObject } from "../../../lab/kube.ts";
import type { Lab } from "../../../lab/lab.ts";

interface PodList {
  items: (KubeObject & { spec: { nodeName?: string } })[];
}

interface NodeObject {
  spec?: { taints?: { key: string }[] };
  status?: { conditions?: { type: string; status: string }[] };
}

type Method = "GET" | "POST" | "PUT" | "DELETE";

export interface VmOrder {
  vmid: number;
  pool: "servers" | "workers";
  slot: number;
  /** @default "aaaaaaaa" */
  generation?: string;
  /** VMID of the template. @default 9001 */
  template?: number;
  /** A node that is not ours: a name of its own, without our tags and labels. */
  foreign?: string;
}

export class Operator {
  private readonly lab: Pick<Lab, "env">;
  private readonly agent: Agent;
  private admin: Kube | undefined;

  /** @param lab where it is; its token may be another one */
  constructor(lab: Pick<Lab, "env">) {
    this.lab = lab;
    this.agent = new Agent({ connect: { ca: readFileSync(lab.env.NODE_EXTRA_CA_CERTS, "utf8") } });
  }

  async close(): Promise<void> {
    await this.agent.destroy();
    await this.admin?.close();
  }

  /** The administrator's client; there must be a cluster. */
  get kube(): Kube {
    this.admin ??= new Kube(readKubeconfig(readFileSync(this.lab.env.KUBECONFIG, "utf8")));
    return this.admin;
  }

  /** A call of the Proxmox VE API, and the end of its task. */
  async pve(method: Method, path: string, params: Record<string, string | string[]> = {}) {
    const pairs = Object.entries(params).flatMap(([name, value]) =>
      [value].flat().map((one): [string, string] => [name, one]),
    );
    const query = new URLSearchParams(pairs).toString();
    const inUrl = method === "GET" || method === "DELETE";
    const type = "application/x-www-form-urlencoded";
    return await this.send(method, `${path}${inUrl && query ? `?${query}` : ""}`, type, inUrl ? "" : query);
  }

  /** Uploads a file to a storage. */
  async upload(storage: string, fields: Record<string, string>, filename: string, content: Buffer): Promise<void> {
    const mark = "----evergreen";
    const part = (name: string, more: string) =>
      `--${mark}\r\nContent-Disposition: form-data; name="${name}"${more}\r\n\r\n`;
    const texts = Object.entries(fields).map(([name, value]) => `${part(name, "")}${value}\r\n`);
    const head = `${texts.join("")}${part("filename", `; filename="${filename}"`)}`;
    const body = Buffer.concat([Buffer.from(head), content, Buffer.from(`\r\n--${mark}--\r\n`)]);
    const path = `nodes/pve1/storage/${storage}/upload`;
    await this.send("POST", path, `multipart/form-data; boundary=${mark}`, body);
  }

  private async send(method: Method, path: string, type: string, body: string | Buffer): Promise<unknown> {
    const { PROXMOX_VE_ENDPOINT, PROXMOX_VE_API_TOKEN } = this.lab.env;
    const answer = await request(`${PROXMOX_VE_ENDPOINT}api2/json/${path}`, {
      dispatcher: this.agent,
      method,
      headers: { authorization: `PVEAPIToken=${PROXMOX_VE_API_TOKEN}`, "content-type": type },
      ...(body.length > 0 || method === "POST" || method === "PUT" ? { body } : {}),
    });
    const text = await answer.body.text();
    if (answer.statusCode !== 200)
      throw new Error(`${method} ${path}: ${answer.statusCode} ${answer.statusText} ${text}`);
    const { data } = JSON.parse(text) as { data: unknown };
    if (typeof data === "string" && data.startsWith("UPID:")) await this.task(data);
    return data;
  }

  /** Clones, configures and starts a VM, and waits for its agent. */
  async createVm(order: VmOrder): Promise<string> {
    const { vmid, pool, slot, generation = "aaaaaaaa", template = 9001 } = order;
    const name = nameOf(order);
    const vm = `nodes/pve1/qemu/${vmid}`;
    await this.pve("POST", `nodes/pve1/qemu/${template}/clone`, {
      newid: String(vmid),
      name,
      pool: "evergreen-nodes",
      full: "0",
    });
    const tags = ["evergreen", "eg-cluster-demo", `eg-pool-${pool}`, `eg-slot-${slot}`, `eg-gen-${generation}`];
    if (order.foreign === undefined) await this.pve("PUT", `${vm}/config`, { tags: tags.join(";") });
    await this.power(vmid, "start");
    return name;
  }

  async power(vmid: number, what: "start" | "stop" | "shutdown"): Promise<void> {
    await this.pve("POST", `nodes/pve1/qemu/${vmid}/status/${what}`);
    if (what !== "start") return;
    await new Deadline(`the agent of ${vmid}`, 60).poll(50, () =>
      this.pve("POST", `nodes/pve1/qemu/${vmid}/agent/ping`).then(
        () => true,
        () => undefined,
      ),
    );
  }

  async destroyVm(vmid: number): Promise<void> {
    await this.pve("DELETE", `nodes/pve1/qemu/${vmid}`);
  }

  /** @param config further configuration of its RKE2 */
  async joinFirstServer(order: VmOrder, config: object = {}): Promise<void> {
    await this.join(order, "server", config);
  }

  /** Makes a cluster of its first server, and waits until it is Ready. @param config further configuration of its RKE2 */
  async foundCluster(order: VmOrder, config: object = {}): Promise<void> {
    await this.joinFirstServer(order, config);
    await new Deadline("the kubeconfig", 120).poll(100, () =>
      readFile(this.lab.env.KUBECONFIG).then(
        (file) => (file.length > 0 ? true : undefined),
        () => undefined,
      ),
    );
    await this.ready(nameOf(order));
  }

  async joinServer(order: VmOrder, firstVmid: number): Promise<void> {
    const token = await this.readFile(firstVmid, "/var/lib/rancher/rke2/server/token");
    await this.join(order, "server", { server: this.supervisor, token: token.trim() });
  }

  async joinAgent(order: VmOrder, firstVmid: number): Promise<void> {
    const serverToken = await this.readFile(firstVmid, "/var/lib/rancher/rke2/server/token");
    const caHash = serverToken.split("::")[0];
    await this.join(order, "agent", { server: this.supervisor, token: `${caHash}::${await this.mint()}` });
  }

  /** Waits until the Node is there and Ready, and free for pods: the controllers take their taint off a moment later. */
  async ready(name: string): Promise<void> {
    await new Deadline(`Node ${name} to be Ready`, 60).poll(100, async () => {
      const { status, body } = await this.kube
        .call<NodeObject>("GET", `/api/v1/nodes/${name}`)
        .catch(() => ({ status: 0, body: undefined }));
      const isReady = body?.status?.conditions?.some(({ type, status }) => type === "Ready" && status === "True");
      const isHeldBack = body?.spec?.taints?.some(({ key }) => key === "node.kubernetes.io/not-ready");
      return status === 200 && isReady && !isHeldBack ? true : undefined;
    });
  }

  async cordon(name: string, unschedulable = true): Promise<void> {
    await this.kube.call("PATCH", `/api/v1/nodes/${name}`, { spec: { unschedulable } });
  }

  /** Cordons and evicts everything but DaemonSet pods; a refusal is tried again. */
  async drain(name: string): Promise<void> {
    await this.cordon(name);
    await new Deadline(`${name} to be empty`, 60).poll(100, async () => {
      const pods = await this.podsOn(name);
      for (const { metadata } of pods) {
        const { name, namespace = "" } = metadata;
        const body = { apiVersion: "policy/v1", kind: "Eviction", metadata: { name, namespace } };
        await this.kube.call("POST", `/api/v1/namespaces/${namespace}/pods/${name}/eviction`, body);
      }
      return pods.length === 0 ? true : undefined;
    });
  }

  async podsOn(name: string): Promise<PodList["items"]> {
    const { body } = await this.kube.call<PodList>("GET", `/api/v1/pods?fieldSelector=spec.nodeName%3D${name}`);
    return body.items.filter(({ metadata }) => metadata.ownerReferences?.[0]?.kind === "ReplicaSet");
  }

  async deleteNode(name: string): Promise<void> {
    await this.kube.call("DELETE", `/api/v1/nodes/${name}`);
  }

  private get supervisor(): string {
    return `https://${new URL(this.lab.env.PROXMOX_VE_ENDPOINT).hostname.replace(/\.2$/, ".5")}:9345`;
  }

  private async join(order: VmOrder, role: string, more: object): Promise<void> {
    const { vmid, pool, slot, generation = "aaaaaaaa" } = order;
    const labels = { cluster: "demo", pool, slot: String(slot), generation };
    const fragment = JSON.stringify({
      "node-name": nameOf(order),
      ...(order.foreign === undefined
        ? { "node-label": Object.entries(labels).map(([key, value]) => `evergreen.dev/${key}=${value}`) }
        : {}),
      ...more,
    });
    const hash = createHash("sha256").update(fragment).digest("hex");
    await this.writeFile(vmid, "/etc/evergreen/join.yaml", fragment);
    await this.writeFile(vmid, "/etc/evergreen/join.ready", `${role} ${hash}\n`);
  }

  /** A bootstrap token for agents. */
  private async mint(): Promise<string> {
    const [id, secret] = [randomBytes(3).toString("hex"), randomBytes(8).toString("hex")];
    const data = {
      "token-id": id,
      "token-secret": secret,
      "usage-bootstrap-authentication": "true",
      expiration: new Date(Date.now() + 600_000).toISOString(),
      "auth-extra-groups": "system:bootstrappers:rke2:default-node-token",
    };
    const { status, body } = await this.kube.call("POST", "/api/v1/namespaces/kube-system/secrets", {
      metadata: { name: `bootstrap-token-${id}` },
      type: "bootstrap.kubernetes.io/token",
      stringData: data,
    });
    if (status !== 201) throw new Error(`bootstrap token: ${JSON.stringify(body)}`);
    return `${id}.${secret}`;
  }

  /** Reads a file in a VM, through its guest agent. */
  async readFile(vmid: number, file: string): Promise<string> {
    const { content } = (await this.pve("GET", `nodes/pve1/qemu/${vmid}/agent/file-read`, { file })) as {
      content: string;
    };
    return content;
  }

  /** Writes a file in a VM, through its guest agent. */
  async writeFile(vmid: number, file: string, content: string): Promise<void> {
    await this.pve("POST", `nodes/pve1/qemu/${vmid}/agent/file-write`, { file, content });
  }

  private async task(upid: string): Promise<void> {
    const path = `nodes/pve1/tasks/${encodeURIComponent(upid)}/status`;
    const exit = await new Deadline(`task ${upid}`, 60).poll(20, async () => {
      const task = (await this.pve("GET", path)) as { status: string; exitstatus?: string };
      return task.status === "stopped" ? (task.exitstatus ?? "") : undefined;
    });
    if (exit !== "OK") throw new Error(`task ${upid}: ${exit}`);
  }
}

function nameOf({ pool, slot, generation = "aaaaaaaa", foreign }: VmOrder): string {
  return foreign ?? `demo-${pool}-${slot}-${generation}`;
}
