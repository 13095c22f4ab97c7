/** Calls the workload and the Kubernetes API continuously, with a fresh connection for each request. */
import http from "node:http";
import https from "node:https";
import { follow, type Kube, type KubeObject, userAgent } from "../kube.ts";
import { reachable } from "../pod-network.ts";
import { Counter, type Tally } from "./tally.ts";
import { workloadName, workloadNamespace } from "./workload.ts";

export interface ProbeReport {
  /** Requests to both. */
  requests: number;
  failed: number;
  workload: Tally;
  api: Tally;
}

interface EndpointSlice extends KubeObject {
  endpoints?: { addresses: string[]; conditions?: { ready?: boolean; serving?: boolean; terminating?: boolean } }[];
  ports?: { port?: number }[];
}

interface Timings {
  /** Milliseconds between two requests to the workload. @default 50 */
  workloadEvery: number;
  /** Milliseconds between two requests to the API. @default 250 */
  apiEvery: number;
  /** Milliseconds after which a request counts as failed. @default 3000 */
  patience: number;
}

/** A realistic client: it uses the EndpointSlices as kube-proxy does. */
export class Prober {
  private readonly workload = new Counter();
  private readonly api = new Counter();
  private readonly slices = new Map<string, EndpointSlice>();
  private readonly stopped = new AbortController();
  private readonly kube: Kube;
  private readonly timings: Timings;
  private turn = 0;
  /** Until the workload was reachable once, an empty list of endpoints is not a failure. */
  private seenEndpoint = false;

  constructor(kube: Kube, timings: Partial<Timings> = {}) {
    this.kube = kube;
    this.timings = { workloadEvery: 50, apiEvery: 250, patience: 3000, ...timings };
  }

  start(): void {
    const { signal } = this.stopped;
    const name = ({ metadata }: EndpointSlice) => metadata.name;
    const handler = follow<EndpointSlice>(
      (slice) => this.slices.set(name(slice), slice),
      (slice) => this.slices.delete(name(slice)),
    );
    const path = `/apis/discovery.k8s.io/v1/namespaces/${workloadNamespace}/endpointslices`;
    const selector = `labelSelector=kubernetes.io%2Fservice-name%3D${workloadName}`;
    void this.kube.watch(`${path}?${selector}`, handler, signal);
    const timers = [
      setInterval(() => void this.callWorkload(), this.timings.workloadEvery),
      setInterval(() => void this.callApi(), this.timings.apiEvery),
    ];
    signal.addEventListener("abort", () => timers.forEach(clearInterval));
  }

  stop(): void {
    this.stopped.abort();
  }

  reset(): void {
    this.workload.reset();
    this.api.reset();
  }

  get report(): ProbeReport {
    const workload = this.workload.tally;
    const api = this.api.tally;
    return { requests: workload.requests + api.requests, failed: workload.failed + api.failed, workload, api };
  }

  /** `address:port` of every endpoint that takes new connections. */
  get endpoints(): string[] {
    return [...this.slices.values()].flatMap((slice) =>
      (slice.endpoints ?? [])
        .filter(({ conditions }) => conditions?.ready !== false && conditions?.terminating !== true)
        .flatMap(({ addresses }) =>
          addresses.map((address) => `${reachable(address)}:${slice.ports?.[0]?.port ?? 80}`),
        ),
    );
  }

  private async callWorkload(): Promise<void> {
    const { endpoints } = this;
    if (endpoints.length > 0) this.seenEndpoint = true;
    if (!this.seenEndpoint) return;
    const target = endpoints[this.turn++ % endpoints.length];
    if (target === undefined) this.workload.fail("web.load", "no endpoint is ready", new Date());
    else await this.ask(this.workload, target, (options) => http.get(`http://${target}/`, options));
  }

  private async callApi(): Promise<void> {
    const { server, ca, cert, key } = this.kube.access;
    const url = `${server}/api/v1/namespaces/default`;
    const headers = { "user-agent": userAgent };
    await this.ask(this.api, server, (options) => https.get(url, { ...options, headers, ca, cert, key }));
  }

  private async ask(counter: Counter, target: string, get: (options: object) => http.ClientRequest): Promise<void> {
    const begin = performance.now();
    const at = new Date();
    const outcome = await new Promise<string | undefined>((resolve) => {
      const signal = AbortSignal.any([AbortSignal.timeout(this.timings.patience), this.stopped.signal]);
      const request = get({ agent: false, signal });
      request.on("error", (error) => resolve(reasonOf(error, signal)));
      request.on("response", (response) => {
        response.on("error", (error) => resolve(reasonOf(error, signal)));
        response.on("end", () => resolve(response.statusCode === 200 ? undefined : `status ${response.statusCode}`));
        response.resume();
      });
    });
    if (this.stopped.signal.aborted) return;
    if (outcome === undefined) counter.ok(performance.now() - begin);
    else counter.fail(target, outcome, at);
  }
}

function reasonOf(error: Error, signal: AbortSignal): string {
  if (signal.aborted) return "no answer in time";
  const code = (error as NodeJS.ErrnoException).code;
  return code ?? error.message;
}
