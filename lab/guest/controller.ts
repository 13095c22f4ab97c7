/** RKE2's controllers for Nodes: they remove members of departing nodes from etcd, and passwords of deleted Nodes. */
import { messageOf } from "../../src/runtime/errors.ts";
import { follow } from "../kube.ts";
import type { KubeObject } from "../kube.ts";
import { secretName } from "./node-password.ts";
import type { Scope } from "./scope.ts";
import { voterCondition } from "./server.ts";
import type { Server } from "./server.ts";

const prefix = "etcd.rke2.cattle.io";
const finalizer = "wrangler.cattle.io/managed-etcd-controller";

/** Milliseconds after which all Nodes are reconciled again. */
const resync = 1000;

const noop = () => undefined;

/** Milliseconds between two checks of the learners, and until a learner that was not promoted is removed. */
const learnersEvery = 15_000;
const stalledAfter = 300_000;

interface Node extends KubeObject {
  metadata: KubeObject["metadata"] & { uid: string; finalizers?: string[] };
}

/** Runs beside every API server; only the controller of the first server acts. */
export class EtcdController {
  private readonly server: Server;
  private readonly scope: Scope;
  private readonly nodes = new Map<string, Node>();
  /** Uids of Nodes that own their password Secret. */
  private readonly owned = new Set<string>();

  /** When each learner was first seen, milliseconds of the monotonic clock. */
  private readonly learners = new Map<string, number>();

  constructor(server: Server, scope: Scope) {
    this.server = server;
    this.scope = scope;
  }

  async run(): Promise<void> {
    let wake: () => void = noop;
    const handler = follow<Node>(
      (node) => {
        this.nodes.set(node.metadata.uid, node);
        wake();
      },
      (node) => this.nodes.delete(node.metadata.uid),
    );
    this.scope.run(() => this.server.kube.watch("/api/v1/nodes", handler, this.scope.signal));
    this.scope.defer(() => wake());
    this.scope.run(() => this.evictLearners());
    while (!this.scope.over) {
      const next = new Promise<void>((resolve) => (wake = resolve));
      for (const node of [...this.nodes.values()]) await this.reconcile(node);
      await Promise.race([next, this.scope.wait(resync).catch(noop)]);
    }
  }

  private get leads(): boolean {
    const candidates = [...this.server.cluster.servers.values()].filter(({ ready, leaving }) => ready && !leaving);
    return candidates[0] === this.server;
  }

  private async reconcile(node: Node): Promise<void> {
    const { annotations = {}, deletionTimestamp, finalizers = [] } = node.metadata;
    const wanted = annotations[`${prefix}/remove`] === "true" && !annotations[`${prefix}/removed-node-name`];
    const deleted = deletionTimestamp !== undefined && finalizers.includes(finalizer);
    if (wanted || deleted) this.markLeaving(node);
    if (!this.leads) return;
    try {
      if (wanted || deleted) await this.removeMember(node);
      if (deleted)
        await this.patch(node, { metadata: { finalizers: finalizers.filter((name) => name !== finalizer) } });
      if (!this.owned.has(node.metadata.uid)) await this.ownPassword(node);
    } catch (error) {
      if (this.scope.over) return;
      this.server.guest.log.say(
        "rke2",
        `level=error msg="error syncing node ${node.metadata.name}: ${messageOf(error)}"`,
      );
    }
  }

  /** Removes stalled learners: a learner whose machine is gone would keep every other server from joining. */
  private async evictLearners(): Promise<void> {
    for (;;) {
      await this.scope.wait(learnersEvery);
      if (!this.leads) continue;
      const members = await this.server.etcd.members().catch(() => []);
      const now = performance.now();
      const learners = members.filter(({ isLearner }) => isLearner);
      for (const id of this.learners.keys()) if (!learners.some(({ ID }) => ID === id)) this.learners.delete(id);
      for (const { ID } of learners) {
        const since = this.learners.get(ID) ?? now;
        this.learners.set(ID, since);
        if (now - since > stalledAfter) await this.server.etcd.remove(ID).catch(noop);
      }
    }
  }

  private serverOf({ metadata }: Node): Server | undefined {
    return [...this.server.cluster.servers.values()].find(({ node }) => node === metadata.name);
  }

  private markLeaving(node: Node): void {
    const server = this.serverOf(node);
    if (server && this.server.cluster.servers.size > 1) server.leaving = true;
  }

  private async removeMember(node: Node): Promise<void> {
    const { annotations = {}, name } = node.metadata;
    const [member, address] = [annotations[`${prefix}/node-name`], annotations[`${prefix}/node-address`]];
    if (member === undefined || address === undefined) return;
    const server = this.serverOf(node);
    const members = await this.server.etcd.members();
    const found = members.find(
      (one) => one.name === member && one.peerURLs?.some((url) => url.includes(`//${address}:`)),
    );
    if (found && members.length === 1) throw new Error("refusing to remove the last member of the etcd cluster");
    if (found) await this.server.etcd.remove(found.ID);
    await server?.stopControlPlane();
    const gone = { [`${prefix}/node-name`]: null, [`${prefix}/node-address`]: null };
    await this.patch(node, { metadata: { annotations: { ...gone, [`${prefix}/removed-node-name`]: member } } });
    const status = { conditions: [voterCondition("False", "NotAMember", "Node is not a member of the etcd cluster")] };
    await this.server.kube.call("PATCH", `/api/v1/nodes/${name}/status`, { status }, "strategic-merge");
  }

  /** Makes the Node the owner of its password Secret: the garbage collector deletes the Secret after the Node. */
  private async ownPassword({ metadata: { name, uid } }: Node): Promise<void> {
    const owner = { apiVersion: "v1", kind: "Node", name, uid };
    const path = `/api/v1/namespaces/kube-system/secrets/${secretName(name)}`;
    const answer = await this.server.kube.call("PATCH", path, { metadata: { ownerReferences: [owner] } });
    if (answer.status === 200 || answer.status === 404) this.owned.add(uid);
  }

  private async patch({ metadata: { name } }: Node, body: object): Promise<void> {
    const answer = await this.server.kube.call("PATCH", `/api/v1/nodes/${name}`, body);
    if (answer.status !== 200 && answer.status !== 404) throw new Error(`patch of node ${name}: ${answer.status}`);
  }
}
