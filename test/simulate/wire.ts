import { getEventListeners } from "node:events";
import { Dispatcher, type Agent } from "undici";
import type { Chance } from "./chance.ts";
import type { Fault } from "./faults.ts";
import { current, Process } from "./process.ts";
import type { Asked } from "./requests.ts";
import type { VirtualTime } from "./time.ts";

/** A request as it arrives. */
export interface Call extends Asked {
  api: "pve" | "kube" | "supervisor";
  host: string;
  body: string;
  type: string;
  headers: Record<string, string>;
  process: Process;
}

export interface Stream {
  write: (text: string) => void;
  end: () => void;
  fail: (error: Error) => void;
}

export interface Answer {
  status: number;
  /** Reason phrase. */
  reason?: string;
  body?: string;
  /** The answer is a stream that stays open. @returns a function to call when it is no longer read */
  stream?: (out: Stream) => () => void;
}

/** The models behind the wire. */
export interface Far {
  time: VirtualTime;
  latency: Chance;
  /** How far the clock of the API server that answers is ahead of ours, in milliseconds. */
  aheadMs: (host: string) => number;
  /** Executes a request, at once. */
  answer: (call: Call) => Answer;
  fault: (call: Call) => Fault | undefined;
  /** How long a request waits for a lock, in milliseconds. */
  waits: (call: Call) => number;
  /** Called twice for every request: before its effect and after it. A process that is killed here is dead. */
  boundary: (call: Call, side: "before" | "after") => void;
  /** Called for every request that was executed or refused. */
  heard: (call: Call, outcome: string) => void;
  /** The signals that can end a request. */
  signals: Set<AbortSignal>;
}

/**
 * Takes all listeners from signals. Node keeps a signal that follows others for as long as somebody listens, and with it
 * the whole world of a process that was killed while it waited.
 */
export function silence(signals: ReadonlySet<AbortSignal>): void {
  for (const signal of signals)
    for (const listener of getEventListeners(signal, "abort"))
      signal.removeEventListener("abort", listener as () => void);
}

/** A connection error as undici makes it. */
function broken(code: string, message: string): Error {
  return Object.assign(new Error(message), { code });
}

const hangUp = () => broken("UND_ERR_SOCKET", "other side closed");
const silent = () => broken("UND_ERR_HEADERS_TIMEOUT", "Headers Timeout Error");
const noBody = () => broken("UND_ERR_BODY_TIMEOUT", "Body Timeout Error");

/** Replaces sockets: requests reach the models, in virtual time. */
export class Wire extends Dispatcher {
  private readonly far: Far;
  private readonly patience: number;

  constructor(far: Far, { headersTimeout }: Agent.Options) {
    super();
    this.far = far;
    this.patience = headersTimeout ?? 300_000;
  }

  override dispatch(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): boolean {
    const process = current.getStore();
    if (process === undefined) throw new Error("a request of nobody");
    const exchange = new Exchange(handler, () => process.isDead(), this.far.time);
    const call = callOf(options, process);
    const { signal } = options as Dispatcher.RequestOptions;
    if (signal instanceof AbortSignal) this.far.signals.add(signal);
    const { time, latency } = this.far;
    const fault = this.far.fault(call);
    const delay = (call.api === "pve" ? latency.between(5, 40) : latency.between(2, 12)) + (fault?.ms ?? 0);
    time.after(delay, () => this.arrive(call, exchange, fault, options.bodyTimeout ?? 0));
    return true;
  }

  private arrive(call: Call, exchange: Exchange, fault: Fault | undefined, bodyTimeout: number): void {
    const { far } = this;
    if (call.process.isDead()) return;
    const wait = far.waits(call);
    if (wait > 0) {
      far.time.after(wait, () => this.arrive(call, exchange, fault, bodyTimeout));
      return;
    }
    far.boundary(call, "before");
    if (call.process.isDead()) return;
    if (fault?.refusal) {
      far.heard(call, `${fault.refusal.status} ${fault.refusal.reason ?? ""} (fault)`);
      exchange.respond(fault.refusal, this.headers(call));
      return;
    }
    const lost = fault?.lost;
    if (lost !== undefined && !lost.after) {
      far.heard(call, `never arrived (fault: ${lost.how})`);
      this.lose(exchange, lost.how);
      return;
    }
    const answer = far.answer(call);
    far.heard(
      call,
      `${answer.status}${answer.reason ? ` ${answer.reason}` : ""}${lost ? ` (fault: answer lost, ${lost.how})` : ""}`,
    );
    far.boundary(call, "after");
    if (call.process.isDead()) return;
    if (lost) this.lose(exchange, lost.how);
    else if (answer.stream) exchange.stream(answer.stream, this.headers(call), bodyTimeout, fault?.breaksAfter);
    else exchange.respond(answer, this.headers(call));
  }

  private lose(exchange: Exchange, how: "hang up" | "silence"): void {
    if (how === "hang up") exchange.fail(hangUp());
    else this.far.time.after(this.patience, () => exchange.fail(silent()));
  }

  private headers({ host }: Call): Record<string, string> {
    return { date: dateOf(Math.floor((this.far.time.date() + this.far.aheadMs(host)) / 1000)) };
  }

  // undici wants both forms of each; only the promises are used here.
  override close(): Promise<void>;
  override close(callback: () => void): void;
  override close(callback?: () => void): Promise<void> | void {
    callback?.();
    return Promise.resolve();
  }

  override destroy(error?: Error | null): Promise<void>;
  override destroy(callback: () => void): void;
  override destroy(error: Error | null, callback: () => void): void;
  override destroy(): Promise<void> {
    return Promise.resolve();
  }
}

/** One request and its response. */
class Exchange implements Dispatcher.DispatchController {
  aborted = false;
  paused = false;
  reason: Error | null = null;
  private over = false;
  private readonly handler: Dispatcher.DispatchHandler;
  private readonly isDeaf: () => boolean;
  private readonly time: VirtualTime;
  private close: () => void = () => undefined;

  constructor(handler: Dispatcher.DispatchHandler, isDeaf: () => boolean, time: VirtualTime) {
    this.handler = handler;
    this.isDeaf = isDeaf;
    this.time = time;
    handler.onRequestStart?.(this, {});
  }

  abort(reason: Error): void {
    this.aborted = true;
    this.reason = reason;
    this.fail(reason);
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
  }

  respond({ status, reason = "", body = "" }: Answer, headers: Record<string, string>): void {
    if (!this.listens()) return;
    this.handler.onResponseStart?.(this, status, headers, reason);
    this.handler.onResponseData?.(this, Buffer.from(body));
    this.end();
  }

  stream(
    open: (out: Stream) => () => void,
    headers: Record<string, string>,
    bodyTimeout: number,
    breaksAfter: number | undefined,
  ): void {
    if (!this.listens()) return;
    this.handler.onResponseStart?.(this, 200, headers, "OK");
    let giveUp: () => void = () => undefined;
    const listen = () => {
      giveUp();
      if (bodyTimeout > 0) giveUp = this.time.after(bodyTimeout, () => this.fail(noBody()));
    };
    listen();
    const stop = open({
      write: (text) => {
        if (!this.listens()) return;
        listen();
        this.handler.onResponseData?.(this, Buffer.from(text));
      },
      end: () => this.end(),
      fail: (error) => this.fail(error),
    });
    const takeBack =
      breaksAfter === undefined ? () => undefined : this.time.after(breaksAfter, () => this.fail(hangUp()));
    this.close = () => {
      stop();
      giveUp();
      takeBack();
    };
  }

  fail(error: Error): void {
    if (this.over) return;
    const deaf = !this.listens();
    this.over = true;
    this.close();
    if (!deaf) this.handler.onResponseError?.(this, error);
  }

  private end(): void {
    if (!this.listens()) return;
    this.over = true;
    this.close();
    this.handler.onResponseEnd?.(this, {});
  }

  /** Whether the requesting process still listens; its code runs after this. */
  private listens(): boolean {
    if (this.over || this.isDeaf()) return false;
    this.time.wake();
    return true;
  }
}

/** The last date that was asked for: many answers come in the same second. */
let lastDate = { second: Number.NaN, text: "" };

/** The date as it stands in a header. @param second since the epoch */
function dateOf(second: number): string {
  if (lastDate.second !== second) lastDate = { second, text: new Date(second * 1000).toUTCString() };
  return lastDate.text;
}

function callOf(options: Dispatcher.DispatchOptions, process: Process): Call {
  const [path = "", query = ""] = options.path.split("?");
  const [, host = "", port = ""] = origin.exec(String(options.origin)) ?? [];
  const headers = (options.headers ?? {}) as Record<string, string>;
  return {
    api: port === "8006" ? "pve" : port === "9345" ? "supervisor" : "kube",
    host,
    headers,
    method: options.method,
    path: decodeURIComponent(path).replace(/^\/api2\/json/, ""),
    query: new URLSearchParams(query),
    body: typeof options.body === "string" ? options.body : "",
    type: headers["content-type"] ?? "",
    process,
  };
}

/** Host and port of an origin, which undici has parsed before. */
const origin = /^https?:\/\/(.*?)(?::(\d+))?$/;
