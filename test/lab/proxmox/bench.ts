import { request } from "node:https";
import { setTimeout as delay } from "node:timers/promises";
import { Authority } from "../../../lab/pki.ts";
import { fast } from "../../../lab/profiles.ts";
import { DataCentre } from "../../../lab/proxmox/data-centre.ts";
import type { DataCentreOptions } from "../../../lab/proxmox/data-centre.ts";
import { serve } from "../../../lab/proxmox/serve.ts";
import { AgentError } from "../../../lab/types.ts";
import type { ExecStatus, Guest, GuestHost, Machine } from "../../../lab/types.ts";
import { Proxmox } from "../../../src/clients/proxmox/client.ts";

/** A guest that does what the tests tell it. */
export class TestGuest implements Guest {
  agentUp = false;
  deaf = false;
  off = false;
  readonly machine: Machine;

  constructor(machine: Machine, bootMs: number) {
    this.machine = machine;
    if (machine.image.agent) {
      setTimeout(() => {
        if (!this.off) this.agentUp = true;
      }, bootMs).unref();
    }
  }

  interfaces() {
    const address = this.machine.cloudInit.address;
    return [
      {
        name: "eth0",
        mac: "",
        addresses: [
          ...(address === undefined ? [] : [{ address, prefix: 24, family: "ipv4" as const }]),
          { address: "fe80::1", prefix: 64, family: "ipv6" as const },
        ],
      },
    ];
  }

  readFile(path: string): Buffer {
    const found = this.machine.disk.get(path);
    if (path === "/tmp") throw new AgentError("failed to read file: Is a directory");
    if (!found) throw new AgentError(`failed to open file '${path}' (mode: 'r'): No such file or directory`);
    return found;
  }

  writeFile(path: string, content: Buffer): void {
    if (path === "/tmp") throw new AgentError(`failed to open file '${path}' (mode: 'wb'): Is a directory`);
    if (path === "/proc/version") throw new AgentError("failed to close handle: Input/output error");
    if (path.startsWith("/nodir/")) {
      throw new AgentError(`failed to open file '${path}' (mode: 'wb'): No such file or directory`);
    }
    this.machine.disk.set(path, content);
  }

  private started = 0;

  /** Knows one program. Its processes have the ids of the recording. */
  exec(command: readonly string[]): number {
    const [program = ""] = command;
    // Those quotation marks are glib's.
    if (program !== "/bin/busybox")
      throw new AgentError(`Failed to execute child process \u201c${program}\u201d (No such file or directory)`);
    this.started += 1;
    return 136 + 2 * this.started;
  }

  execStatus(pid: number): ExecStatus {
    if (pid > 136 + 2 * this.started) throw new AgentError("Invalid parameter 'pid'");
    return { exited: true, code: 0, out: Buffer.from("6.1.0-56-cloud-amd64\n") };
  }

  run(): Promise<string> {
    return Promise.resolve("");
  }

  async shutdown(): Promise<void> {
    if (this.deaf || !this.agentUp) return new Promise<void>(() => undefined);
    await delay(20);
    await this.powerOff();
  }

  powerOff(): Promise<void> {
    this.off = true;
    this.agentUp = false;
    return Promise.resolve();
  }
}

/** Remembers the guests that it booted, by VMID. */
export class TestHost implements GuestHost {
  readonly guests = new Map<number, TestGuest>();
  bootMs = 20;
  /** Guests of these VMs ignore a shutdown. */
  deaf = new Set<number>();

  boot(machine: Machine): Guest {
    const guest = new TestGuest(machine, this.bootMs);
    guest.deaf = this.deaf.has(machine.vmid);
    this.guests.set(machine.vmid, guest);
    return guest;
  }
}

/** Parameters of a request; a list is repeated by its name. */
export type Fields = Record<string, string | number | string[]>;

export interface Reply {
  status: number;
  reason: string;
  headers: NodeJS.Dict<string | string[]>;
  text: string;
  body: { data?: unknown; message?: string; errors?: Record<string, string>; total?: number } | undefined;
}

/** A data centre on a port, with a client. */
export class Bench {
  readonly dc: DataCentre;
  readonly host: TestHost;
  readonly port: number;
  private readonly close: () => Promise<void>;
  private readonly clients: Proxmox[] = [];
  /** PEM of the authority that a client must trust. */
  readonly ca: string;

  private constructor(dc: DataCentre, host: TestHost, port: number, ca: string, close: () => Promise<void>) {
    this.dc = dc;
    this.host = host;
    this.port = port;
    this.ca = ca;
    this.close = close;
  }

  static async start(port: number, options: Partial<DataCentreOptions> = {}): Promise<Bench> {
    const host = new TestHost();
    const dc = new DataCentre({ profile: fast, guests: host, ...options });
    const authority = new Authority("test");
    const credentials = authority.issue({ commonName: "pve1", names: ["127.0.0.1"] });
    const server = await serve(dc, { address: "127.0.0.1", port, ...credentials });
    return new Bench(dc, host, port, authority.cert, async () => {
      await server.close();
      await dc.close();
    });
  }

  async stop(): Promise<void> {
    await Promise.all(this.clients.map((client) => client.close()));
    await this.close();
  }

  /** Our own client with a token of the data centre; closed with the bench. */
  client(token: string): Proxmox {
    const endpoint = `https://127.0.0.1:${this.port}`;
    const client = new Proxmox({ endpoint, token: this.dc.credential(token), ca: this.ca, retryMs: 1 });
    this.clients.push(client);
    return client;
  }

  /** @param token id of a token of the data centre, "" for none, or a whole credential with `=` */
  call(method: string, path: string, params: Fields = {}, token = "root@pam!lab"): Promise<Reply> {
    const form = new URLSearchParams(
      Object.entries(params).flatMap(([key, value]) =>
        [value].flat().map((one): [string, string] => [key, String(one)]),
      ),
    ).toString();
    const inQuery = method === "GET" || method === "DELETE";
    const query = inQuery && form !== "" ? `?${form}` : "";
    return this.send(method, path + query, token, inQuery ? undefined : Buffer.from(form));
  }

  private send(
    method: string,
    path: string,
    token: string,
    body: Buffer | undefined,
    type = "application/x-www-form-urlencoded",
  ): Promise<Reply> {
    const credential = token.includes("=") || token === "" ? token : this.dc.credential(token);
    const headers = {
      ...(credential !== "" && { Authorization: `PVEAPIToken=${credential}` }),
      ...(body && { "Content-Type": type, "Content-Length": body.length }),
    };
    const target = `/api2/json/${path}`;
    return new Promise((resolve, reject) => {
      const sent = request(
        { host: "127.0.0.1", port: this.port, method, path: target, headers, ca: this.ca, agent: false },
        (response) => {
          const chunks: Buffer[] = [];
          response.on("data", (chunk: Buffer) => chunks.push(chunk));
          response.on("end", () => {
            const text = Buffer.concat(chunks).toString();
            resolve({
              status: response.statusCode ?? 0,
              reason: response.statusMessage ?? "",
              headers: response.headers,
              text,
              body: text === "" ? undefined : (JSON.parse(text) as NonNullable<Reply["body"]>),
            });
          });
        },
      );
      sent.on("error", reject);
      sent.end(body);
    });
  }

  /** Sends a file as multipart/form-data. */
  upload(
    path: string,
    params: Record<string, string>,
    file: { filename: string; content: Buffer; field?: string; first?: boolean },
    token = "root@pam!lab",
  ): Promise<Reply> {
    const boundary = "----evergreen";
    const fields = Object.entries(params).map(
      ([name, value]) => `--${boundary}\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`,
    );
    const { filename, content, field = "filename", first = false } = file;
    const head = `--${boundary}\r\nContent-Disposition: form-data; name="${field}"; filename="${filename}"\r\n\r\n`;
    const whole = Buffer.concat([Buffer.from(head), content, Buffer.from("\r\n")]);
    const parts = [Buffer.from(fields.join("")), whole];
    const body = Buffer.concat([...(first ? parts.reverse() : parts), Buffer.from(`--${boundary}--\r\n`)]);
    return this.send("POST", path, token, body, `multipart/form-data; boundary=${boundary}`);
  }

  /** `data` of a request that must succeed. */
  async data<T>(method: string, path: string, params: Fields = {}, token?: string): Promise<T> {
    const reply = await this.call(method, path, params, token);
    if (reply.status !== 200) throw new Error(`${method} ${path}: ${reply.status} ${reply.reason} ${reply.text}`);
    return reply.body?.data as T;
  }

  /** Sends a request that starts a task and waits for its end. @returns its exit status */
  async task(
    method: string,
    path: string,
    params: Record<string, string | number> = {},
    token?: string,
  ): Promise<string> {
    const upid = await this.data<string>(method, path, params, token);
    return this.ended(upid);
  }

  /** Waits for a task. @returns its exit status */
  async ended(upid: string): Promise<string> {
    const task = this.dc.tasks.all.get(upid);
    if (!task) throw new Error(`no task ${upid}`);
    await task.done;
    return task.exitstatus ?? "still running";
  }

  log(upid: string): string[] {
    return this.dc.tasks.all.get(upid)?.log ?? [];
  }
}
