/** RKE2's snapshots on demand: a real snapshot of the real member, on the server's disk and on request in a bucket. */
import { createHash } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { messageOf } from "../../src/runtime/errors.ts";
import type { Kube, KubeObject } from "../kube.ts";
import type { SnapshotFault } from "../types.ts";
import type { EtcdClient } from "./etcd.ts";
import { insist } from "./insist.ts";
import type { Scope } from "./scope.ts";
import { snapshotsPath } from "./snapshot-crd.ts";
import { keyIn, requireBucket, upload, type Destination } from "./bucket.ts";

/** The body of `POST /db/snapshot` (k3s, pkg/etcd/snapshot_handler.go). */
export interface SnapshotRequest {
  operation?: string;
  name?: string[];
  /** Undefined: no upload, whatever the server's own configuration says. */
  s3?: Destination;
}

export interface SnapshotOptions {
  node: string;
  /** The password of the cluster's server token. */
  password: string;
  etcd: EtcdClient;
  kube: Kube;
  /** Directory on the host that holds the snapshots of the guest's disk. */
  directory: string;
  fault: () => SnapshotFault | undefined;
}

/** A refusal, with the status that RKE2 gives it. */
export class SnapshotRefusal extends Error {
  readonly status: number;

  constructor(status: number, message: string) {
    super(message);
    this.status = status;
  }
}

/** A snapshot, independent of where it is stored. */
interface Made {
  name: string;
  created: string;
  content: Buffer;
}

/** RKE2 answers callers with a number only and writes the reason to its log. */
const secretive = (): SnapshotRefusal => new SnapshotRefusal(500, "etcd-snapshot error ID 04711");

export class Snapshots {
  private readonly options: SnapshotOptions;
  private readonly scope: Scope;
  private busy = false;

  constructor(options: SnapshotOptions, scope: Scope) {
    this.options = options;
    this.scope = scope;
  }

  /** @returns the body of the answer. @throws SnapshotRefusal */
  async handle({ operation, name = [], s3 }: SnapshotRequest): Promise<object> {
    if (operation !== "save") throw new SnapshotRefusal(400, "etcd-snapshot error ID 00400");
    if (s3) {
      await requireBucket(s3).catch((error: unknown) => {
        throw new SnapshotRefusal(400, `failed to initialize S3 client: ${messageOf(error)}`);
      });
    }
    if (this.busy) throw secretive();
    this.busy = true;
    try {
      return { created: await this.save(name[0] ?? "etcd-snapshot", s3) };
    } finally {
      this.busy = false;
    }
  }

  private async save(prefix: string, s3: Destination | undefined): Promise<string[]> {
    const { node, etcd, directory, fault } = this.options;
    const seconds = Math.round(Date.now() / 1000);
    const name = `${prefix}-${node}-${seconds}`;
    const whole = await etcd.snapshot();
    const content = fault() === "empty" ? Buffer.alloc(0) : whole;
    const made: Made = { name, content, created: new Date(seconds * 1000).toISOString().replace(".000Z", "Z") };
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    writeFileSync(join(directory, name), content, { mode: 0o600 });
    await this.publish(made, `file:///var/lib/rancher/rke2/server/db/snapshots/${name}`);
    if (!s3) return [name];
    const failed = await this.upload(made, s3).then(
      () => undefined,
      (error: unknown) => messageOf(error),
    );
    await this.publish(made, `s3://${s3.bucket}/${keyIn(s3, name)}`, s3, failed);
    return failed === undefined ? [name, name] : [name];
  }

  private async upload({ name, content }: Made, s3: Destination): Promise<void> {
    const fault = this.options.fault();
    if (fault === "lost-upload") return;
    const { body } = await this.options.kube.call<KubeObject>("GET", "/api/v1/namespaces/kube-system");
    await upload(s3, keyIn(s3, name), onTheWay(content, fault), {
      "rke2-cluster-id": body.metadata.uid ?? "",
      "rke2-node-name": this.options.node,
      "rke2-token-hash": this.tokenHash,
    });
  }

  private async publish({ name, created, content }: Made, location: string, s3?: Destination, failed?: string) {
    const { node, kube, fault } = this.options;
    const digest = createHash("sha256").update(`${node}${location}`).digest("hex").slice(0, 6);
    const object = {
      apiVersion: "k3s.cattle.io/v1",
      kind: "ETCDSnapshotFile",
      metadata: {
        name: `${s3 ? "s3" : "local"}-${name}-${digest}`,
        labels: { "etcd.rke2.cattle.io/snapshot-storage-node": s3 ? "s3" : node },
        annotations: failed === undefined ? { "etcd.rke2.cattle.io/snapshot-token-hash": this.tokenHash } : {},
      },
      spec: { snapshotName: name, nodeName: node, location, ...(s3 && { s3: published(s3) }) },
      status: {
        readyToUse: failed === undefined && fault() !== "never-ready",
        creationTime: created,
        size: failed === undefined ? String(content.length) : "0",
        ...(failed === undefined ? {} : { error: { message: failed, time: created } }),
      },
    };
    // The API server serves the kind a moment after its definition was installed.
    for (;;) {
      const { status } = await insist(this.scope, () => kube.call("POST", snapshotsPath, object));
      if (status !== 404) return;
      await this.scope.wait(50);
    }
  }

  private get tokenHash(): string {
    return createHash("sha256").update(this.options.password).digest("hex").slice(0, 12);
  }
}

/** The part of an upload that arrives, under a fault. */
function onTheWay(content: Buffer, fault: SnapshotFault | undefined): Buffer {
  if (fault === "cut-upload") return content.subarray(0, content.length / 2);
  if (fault !== "spoilt-upload") return content;
  const spoilt = Buffer.from(content);
  const middle = Math.trunc(content.length / 2);
  spoilt.writeUInt8(spoilt.readUInt8(middle) ^ 1, middle);
  return spoilt;
}

/** What is published of a destination: everything except its credentials. */
function published({ endpoint, bucket, region, folder = "", insecure = false }: Destination): object {
  return { endpoint, bucket, region, prefix: folder, insecure };
}
