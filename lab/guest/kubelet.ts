/** A small kubelet: registers its Node with its own identity, keeps Lease and status, and runs pods. */
import { randomUUID } from "node:crypto";
import type { Kube, KubeObject } from "../kube.ts";
import type { GuestContext } from "./context.ts";
import { nodeIps } from "./families.ts";
import { insist } from "./insist.ts";
import type { Fragment } from "./join.ts";
import { nodeObject, nodeStatus, noNetwork, noRuntime, ready } from "./node-object.ts";
import type { NodeFacts, Readiness } from "./node-object.ts";
import { PodKeeper } from "./pods.ts";
import { JoinFailure } from "./registration.ts";
import type { Scope } from "./scope.ts";

/** Milliseconds between two renewals of the Lease; the controllers give up on a node after 10 s without a renewal. */
const heartbeat = 2500;
/** Heartbeats after which the kubelet reads its Node's status again. */
const checkAfter = 4;
/** Milliseconds from Ready until a node with the fault `crash-after-ready` fails. */
const crashAfter = 3000;

interface Node extends KubeObject {
  status?: { conditions?: { type: string; status: string }[] };
}

interface Status {
  message?: string;
}

export interface KubeletOptions {
  guest: GuestContext;
  /** Has the node's identity. */
  kube: Kube;
  fragment: Fragment;
  /** Milliseconds of the monotonic clock before which the Node is not registered. */
  registerAt: number;
}

export class Kubelet {
  private readonly guest: GuestContext;
  private readonly kube: Kube;
  private readonly scope: Scope;
  private readonly facts: NodeFacts;
  private readonly registerAt: number;
  private readiness: Readiness = noNetwork;
  private uid = "";

  constructor({ guest, kube, fragment, registerAt }: KubeletOptions, scope: Scope) {
    const { machine } = guest;
    const addresses = nodeIps(guest, fragment);
    const { nodeName: node, labels, taints, args } = fragment;
    this.guest = guest;
    this.kube = kube;
    this.scope = scope;
    this.facts = { machine, addresses, node, labels, taints, args, bootId: randomUUID() };
    this.registerAt = registerAt;
  }

  /** Resolves when the Node is registered; the rest continues until the scope ends. @throws JoinFailure */
  async start(): Promise<void> {
    await this.scope.wait(Math.max(0, this.registerAt - performance.now()));
    await this.register();
    this.guest.log.say("rke2", `level=info msg="Successfully registered node" node=${this.facts.node}`);
    const { runtime } = this.guest;
    const report = () => this.scope.run(() => this.publish());
    runtime.onStart.add(report);
    this.scope.defer(() => void runtime.onStart.delete(report));
    this.scope.run(() => this.beat());
    this.scope.run(() => this.becomeReady());
  }

  private async register(): Promise<void> {
    const { node } = this.facts;
    const made = await insist(this.scope, () =>
      this.kube.call<Node & Status>("POST", "/api/v1/nodes", nodeObject(this.facts)),
    );
    if (made.status !== 201 && made.status !== 409) {
      throw new JoinFailure(`Unable to register node with API server: ${made.body.message ?? made.status}`);
    }
    const found =
      made.status === 201
        ? made
        : await insist(this.scope, () => this.kube.call<Node & Status>("GET", `/api/v1/nodes/${node}`));
    this.uid = found.body.metadata.uid ?? "";
    // An existing Node keeps its labels and its cordon; the facts of the machine may have changed.
    if (made.status === 409) await this.publish();
    await this.renewLease();
  }

  private async becomeReady(): Promise<void> {
    const { fault } = this.guest.machine.image;
    await this.scope.wait(this.guest.rack.profile.ready);
    if (fault === "never-ready") return;
    const pods = new PodKeeper({ guest: this.guest, kube: this.kube, node: this.facts.node }, this.scope);
    await this.change(ready);
    this.scope.run(() => pods.keep());
    if (fault !== "crash-after-ready") return;
    await this.scope.wait(crashAfter);
    await this.change(noRuntime);
  }

  private async change(readiness: Readiness): Promise<void> {
    this.readiness = readiness;
    await this.publish();
  }

  private async publish(): Promise<void> {
    const patch = { status: nodeStatus(this.facts, this.readiness, true) };
    const path = `/api/v1/nodes/${this.facts.node}/status`;
    await insist(this.scope, () => this.kube.call("PATCH", path, patch, "strategic-merge"));
  }

  private async beat(): Promise<void> {
    for (let count = 1; !this.scope.over; count++) {
      await this.scope.wait(heartbeat);
      if (this.guest.runtime.isStopped) continue;
      const late = performance.now();
      await this.renewLease();
      // After an outage the controllers may have marked the node as not ready: the kubelet corrects its status.
      if (count % checkAfter === 0 || performance.now() - late > heartbeat) await this.check();
    }
  }

  private async check(): Promise<void> {
    const found = await insist(this.scope, () => this.kube.call<Node>("GET", `/api/v1/nodes/${this.facts.node}`));
    if (found.status !== 200) return;
    const stated = found.body.status?.conditions?.find(({ type }) => type === "Ready")?.status;
    if (stated !== (this.readiness.ready ? "True" : "False")) await this.publish();
  }

  private async renewLease(): Promise<void> {
    const { node } = this.facts;
    const leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
    const spec = { holderIdentity: node, leaseDurationSeconds: 10, renewTime: microTime(new Date()) };
    const renewed = await insist(this.scope, () => this.kube.call("PATCH", `${leases}/${node}`, { spec }));
    if (renewed.status !== 404) return;
    const owner = { apiVersion: "v1", kind: "Node", name: node, uid: this.uid };
    const metadata = { name: node, namespace: "kube-node-lease", ownerReferences: [owner] };
    const lease = { apiVersion: "coordination.k8s.io/v1", kind: "Lease", metadata, spec };
    await insist(this.scope, () => this.kube.call("POST", leases, lease));
  }
}

const microTime = (date: Date) => date.toISOString().replace("Z", "000Z");
