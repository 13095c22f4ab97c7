/** The pods of a node: each running pod really answers HTTP on its own address. */
import http from "node:http";
import { follow } from "../kube.ts";
import type { Kube } from "../kube.ts";
import { podAddress, reachable } from "../pod-network.ts";
import type { GuestContext } from "./context.ts";
import { insist } from "./insist.ts";
import { Scope } from "./scope.ts";
import { ended, isReady, runningStatus, succeededStatus, waitingStatus } from "./pod-status.ts";
import type { Pod } from "./pod-status.ts";

export interface PodKeeperOptions {
  guest: GuestContext;
  /** Has the node's identity. */
  kube: Kube;
  node: string;
}

/** A pod that this incarnation of the node has started. */
interface Sandbox {
  scope: Scope;
  stopping: boolean;
  server: http.Server | undefined;
  /** Its status as last reported, set once it serves. */
  status?: object;
}

/** Milliseconds until containerd is asked again for an image that it could not pull. */
const pullAgain = 300;

/** Milliseconds that requests under way get when a pod's listener closes. */
const lastAnswers = 50;

export class PodKeeper {
  private readonly options: PodKeeperOptions;
  private readonly scope: Scope;
  private readonly sandboxes = new Map<string, Sandbox>();
  private readonly addresses = new Set<string>();
  private next = 0;

  constructor(options: PodKeeperOptions, scope: Scope) {
    this.options = options;
    this.scope = scope;
  }

  /** Runs the pods of the node until the scope ends. */
  async keep(): Promise<void> {
    const path = `/api/v1/pods?fieldSelector=spec.nodeName%3D${this.options.node}`;
    const handler = follow<Pod>(
      (pod) => this.there(pod),
      (pod) => this.gone(pod),
    );
    await this.options.kube.watch(path, handler, this.scope.signal);
  }

  private there(pod: Pod): void {
    const sandbox = this.sandboxes.get(pod.metadata.uid);
    if (pod.metadata.deletionTimestamp) {
      if (!sandbox) this.scope.run(() => this.remove(pod));
      else if (!sandbox.stopping) this.scope.run(() => this.stop(pod, sandbox));
    } else if (!sandbox && !ended(pod)) {
      const scope = new Scope(this.scope);
      const started: Sandbox = { scope, stopping: false, server: undefined };
      this.sandboxes.set(pod.metadata.uid, started);
      scope.run(() => this.start(pod, started));
    } else if (sandbox?.status && !sandbox.stopping && !ended(pod) && !isReady(pod)) {
      // The node controller marked the pod as not ready while the node was away: a kubelet restores the status.
      const { scope, status } = sandbox;
      scope.run(() => this.patch(scope, pod, status));
    }
  }

  /** The pod was force-deleted: its sandbox ends without a grace period. */
  private gone(pod: Pod): void {
    const sandbox = this.sandboxes.get(pod.metadata.uid);
    this.sandboxes.delete(pod.metadata.uid);
    void sandbox?.scope.end();
  }

  private async start(pod: Pod, sandbox: Sandbox): Promise<void> {
    const { guest } = this.options;
    const { scope } = sandbox;
    // The pod ran before the machine went down, and its status still says so.
    if (isReady(pod)) await this.patch(scope, pod, waitingStatus(pod));
    await scope.wait(guest.rack.profile.podStart);
    await this.pull(pod, scope);
    const place = await this.open(pod, scope);
    sandbox.server = place.server;
    const since = new Date();
    const status = runningStatus(pod, { hostIP: guest.address, podIP: podAddress(place.address), since });
    // Set before it is reported, so that a contradiction at the same moment is corrected too.
    if (pod.spec.restartPolicy === "Always") sandbox.status = status;
    await this.patch(scope, pod, status);
    if (pod.spec.restartPolicy === "Always") return;
    await scope.wait(guest.rack.profile.podStop);
    await this.patch(scope, pod, succeededStatus(pod, since));
    await scope.end();
  }

  /** Waits until RKE2 runs and containerd may pull the pod's images, and reports why it may not. */
  private async pull(pod: Pod, scope: Scope): Promise<void> {
    const { runtime, rack } = this.options.guest;
    let said = "";
    for (;;) {
      const refusals = pod.spec.containers.flatMap(({ image }) => runtime.refusal(image, rack.registryPassword) ?? []);
      const [why = ""] = refusals;
      if (why === "" && !runtime.isStopped) return;
      if (why !== said && !runtime.isStopped) await this.patch(scope, pod, waitingStatus(pod, "ImagePullBackOff", why));
      if (!runtime.isStopped) said = why;
      await scope.wait(pullAgain);
    }
  }

  private async stop(pod: Pod, sandbox: Sandbox): Promise<void> {
    sandbox.stopping = true;
    const grace = (pod.metadata.deletionGracePeriodSeconds ?? 30) * 1000;
    // A real program keeps serving after SIGTERM while the endpoints are updated.
    await this.scope.wait(Math.min(this.options.guest.rack.profile.podStop, grace));
    sandbox.server?.close();
    sandbox.server?.closeIdleConnections();
    await this.scope.wait(lastAnswers);
    await sandbox.scope.end();
    await this.remove(pod);
  }

  private async remove({ metadata: { namespace, name, uid } }: Pod): Promise<void> {
    const body = { kind: "DeleteOptions", apiVersion: "v1", gracePeriodSeconds: 0, preconditions: { uid } };
    await insist(this.scope, () =>
      this.options.kube.call("DELETE", `/api/v1/namespaces/${namespace}/pods/${name}`, body),
    );
  }

  private async patch(scope: Scope, { metadata }: Pod, status: object): Promise<void> {
    const path = `/api/v1/namespaces/${metadata.namespace}/pods/${metadata.name}/status`;
    const body = { metadata: { uid: metadata.uid }, status };
    const answer = await insist(scope, () =>
      this.options.kube.call<{ message?: string }>("PATCH", path, body, "strategic-merge"),
    );
    // The pod is gone, or another pod has its name by now: there is no status to report.
    if (answer.status === 200 || answer.status === 404 || answer.status === 409) return;
    const why = answer.body.message ?? String(answer.status);
    this.options.guest.log.say("rke2", `level=error msg="status of pod ${metadata.name}: ${why}"`);
  }

  /** Opens the pod's listener on an address of its own, or on the node's when it uses the host's network. */
  private async open(pod: Pod, scope: Scope): Promise<{ address: string; server: http.Server | undefined }> {
    const port = pod.spec.containers.flatMap(({ ports }) => ports ?? [])[0]?.containerPort;
    const address = pod.spec.hostNetwork ? this.options.guest.address : this.takeAddress(pod, scope);
    if (port === undefined) return { address, server: undefined };
    const { namespace, name } = pod.metadata;
    const text = `${JSON.stringify({ pod: name, namespace, node: this.options.node })}\n`;
    const server = http.createServer((_, response) =>
      response.writeHead(200, { "content-type": "application/json" }).end(text),
    );
    scope.defer(() => {
      server.close();
      server.closeAllConnections();
    });
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(port, address, resolve);
    });
    return { address, server };
  }

  /** `127.(N+100).<last octet of the VM>.<1..254>`: the pod's previous address, else the next free address. */
  private takeAddress(pod: Pod, scope: Scope): string {
    const { address } = this.options.guest;
    const [, second = "0", , last = "0"] = address.split(".");
    const network = `127.${Number(second) + 100}.${last}`;
    const free = (candidate: string) => candidate.startsWith(`${network}.`) && !this.addresses.has(candidate);
    let chosen = reachable(pod.status?.podIP ?? "");
    for (let tries = 0; !free(chosen); tries++) {
      if (tries === 254) throw new Error(`${this.options.node}: no pod address is free in ${network}.0/24`);
      chosen = `${network}.${(this.next++ % 254) + 1}`;
    }
    this.addresses.add(chosen);
    scope.defer(() => void this.addresses.delete(chosen));
    return chosen;
  }
}
