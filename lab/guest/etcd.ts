/** A client of an etcd member that uses etcd's JSON gateway. */
import https from "node:https";
import { Agent, request } from "undici";
import type { Cluster } from "./cluster.ts";

export interface EtcdMember {
  ID: string;
  /** Empty until the member has started. */
  name?: string;
  peerURLs?: string[];
  isLearner?: boolean;
}

/** An error that etcd answered. */
export class EtcdRefusal extends Error {
  override readonly name = "EtcdRefusal";
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/**
 * Whether a member reports that it is healthy; false when it does not answer.
 * @param check `livez`: it serves, with or without a leader; `readyz`: it also has a leader
 */
export async function isHealthy(address: string, check: "livez" | "readyz"): Promise<boolean> {
  try {
    const answer = await request(`http://${address}:2381/${check}`, { headersTimeout: 2000 });
    await answer.body.dump();
    return answer.statusCode === 200;
  } catch {
    return false;
  }
}

export class EtcdClient {
  private readonly address: string;
  private readonly agent: Agent;
  private readonly tls: { ca: string; cert: string; key: string };

  constructor(cluster: Cluster, address: string) {
    this.address = address;
    const { cert, key } = cluster.etcdClient;
    this.tls = { ca: cluster.etcdCa.cert, cert, key };
    this.agent = new Agent({ connect: { ...this.tls, timeout: 2000 }, headersTimeout: 8000 });
  }

  /** @param linearizable false: what this member knows, also without a leader */
  async members(linearizable = true): Promise<EtcdMember[]> {
    return (await this.call<{ members?: EtcdMember[] }>("cluster/member/list", { linearizable })).members ?? [];
  }

  /** @returns all members, the new learner included */
  async addLearner(peerUrl: string): Promise<EtcdMember[]> {
    const body = { peerURLs: [peerUrl], isLearner: true };
    return (await this.call<{ members?: EtcdMember[] }>("cluster/member/add", body)).members ?? [];
  }

  async promote(id: string): Promise<void> {
    await this.call("cluster/member/promote", { ID: id });
  }

  async remove(id: string): Promise<void> {
    await this.call("cluster/member/remove", { ID: id });
  }

  /** @returns the member's own id, and the leader's id as this member knows it */
  async status(): Promise<{ id: string; leader: string }> {
    const { header, leader = "0" } = await this.call<{ header: { member_id: string }; leader?: string }>(
      "maintenance/status",
      {},
    );
    return { id: header.member_id, leader };
  }

  /** Transfers leadership; only the leader accepts it. @param to id of the voter that leads from then on */
  async transferLeadership(to: string): Promise<void> {
    await this.call("maintenance/transfer-leadership", { targetID: to });
  }

  /** The whole database followed by its checksum, as `etcdctl snapshot save` writes it. */
  async snapshot(): Promise<Buffer> {
    const lines = (await this.post("maintenance/snapshot", {})).trim().split("\n");
    return Buffer.concat(
      lines.map((line) => {
        const { result, error } = JSON.parse(line) as { result?: { blob?: string }; error?: { message?: string } };
        if (error) throw new EtcdRefusal(500, error.message ?? "refused");
        return Buffer.from(result?.blob ?? "", "base64");
      }),
    );
  }

  /** True when the member has a leader and serves. */
  async ready(): Promise<boolean> {
    return await isHealthy(this.address, "readyz");
  }

  /** True when the member answers clients at all, as a learner also does. */
  async listens(): Promise<boolean> {
    return new Promise((resolve) => {
      const options = { ...this.tls, host: this.address, port: 2379, path: "/version", agent: false };
      // Not undici: it abandons a connection that is still being opened only after its own time limit.
      const request = https.get({ ...options, signal: AbortSignal.timeout(250) }, (response) => {
        response.resume();
        resolve(response.statusCode === 200);
      });
      request.on("error", () => resolve(false));
    });
  }

  async close(): Promise<void> {
    await this.agent.destroy();
  }

  /** @throws EtcdRefusal when etcd refuses, another error when it does not answer */
  private async call<T>(path: string, body: object): Promise<T> {
    return JSON.parse(await this.post(path, body)) as T;
  }

  private async post(path: string, body: object): Promise<string> {
    const answer = await request(`https://${this.address}:2379/v3/${path}`, {
      dispatcher: this.agent,
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });
    const text = await answer.body.text();
    if (answer.statusCode === 200) return text;
    throw new EtcdRefusal(answer.statusCode, (JSON.parse(text) as { message?: string }).message ?? "refused");
  }
}
