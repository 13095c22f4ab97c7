import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import grpc from "@grpc/grpc-js";
import providerRpc from "@pulumi/pulumi/proto/provider_grpc_pb.js";
import type { ResourceProviderClient } from "@pulumi/pulumi/proto/provider_grpc_pb.js";
import pb from "@pulumi/pulumi/proto/provider_pb.js";
import emptyPb from "google-protobuf/google/protobuf/empty_pb.js";
import structPb from "google-protobuf/google/protobuf/struct_pb.js";
import type { Struct } from "google-protobuf/google/protobuf/struct_pb.js";
import { bundle } from "../../tools/bundle.mjs";
import { projectRoot } from "../../src/runtime/project.ts";
import { node24 } from "../../tools/paths.ts";

export type Props = Record<string, unknown>;

export const urn = (type = "command:local:Command") => `urn:pulumi:dev::evergreen::eg:index:Slot$${type}::w1`;

/** How a call of the plugin may be timed and previewed. */
export interface Asks {
  preview?: boolean;
  timeout?: number;
}

/** The stand-in as the engine sees it: a process that prints a port, and a gRPC service behind it. */
export class PluginClient {
  readonly process: ChildProcess;
  private readonly client: ResourceProviderClient;

  private constructor(process: ChildProcess, port: string) {
    this.process = process;
    this.client = new providerRpc.ResourceProviderClient(`127.0.0.1:${port}`, grpc.credentials.createInsecure());
  }

  static async start(env: Record<string, string> = {}): Promise<PluginClient> {
    await bundle();
    const plugin = join(projectRoot, "dist", "command-plugin.mjs");
    // Its own process group, as the engine starts it.
    const child = spawn(node24, [plugin], {
      stdio: ["pipe", "pipe", "inherit"],
      env: { ...process.env, ...env },
      detached: true,
    });
    const [port] = (await once(child.stdout.setEncoding("utf8"), "data")) as [string];
    return new PluginClient(child, port.trim());
  }

  async stop(): Promise<void> {
    this.client.close();
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    this.process.kill("SIGINT");
    await once(this.process, "exit");
  }

  async check(inputs: Props, type?: string) {
    const request = new pb.CheckRequest().setUrn(urn(type)).setNews(struct(inputs));
    const answer = await promise<InstanceType<typeof pb.CheckResponse>>((done) => this.client.check(request, done));
    return {
      inputs: js(answer.getInputs()),
      failures: answer.getFailuresList().map((failure) => [failure.getProperty(), failure.getReason()]),
    };
  }

  async diff(olds: Props, news: Props, ignore: string[] = []) {
    const request = new pb.DiffRequest()
      .setUrn(urn())
      .setOlds(struct({ ...olds, stdout: "printed", stderr: "" }))
      .setOldInputs(struct(olds))
      .setNews(struct(news))
      .setIgnorechangesList(ignore);
    const answer = await promise<InstanceType<typeof pb.DiffResponse>>((done) => this.client.diff(request, done));
    const details: Record<string, number> = {};
    answer.getDetaileddiffMap().forEach((detail, path) => (details[path] = detail.getKind()));
    return {
      changes: answer.getChanges(),
      diffs: answer.getDiffsList(),
      replaces: answer.getReplacesList(),
      deleteBeforeReplace: answer.getDeletebeforereplace(),
      details,
    };
  }

  async create(inputs: Props, { preview = false, timeout = 0 }: Asks = {}) {
    const request = new pb.CreateRequest()
      .setUrn(urn())
      .setProperties(struct(inputs))
      .setPreview(preview)
      .setTimeout(timeout);
    const answer = await promise<InstanceType<typeof pb.CreateResponse>>((done) => this.client.create(request, done));
    return { id: answer.getId(), outputs: js(answer.getProperties()) };
  }

  async update(olds: Props, news: Props, { preview = false, timeout = 0 }: Asks = {}): Promise<Props> {
    const request = new pb.UpdateRequest()
      .setId("w1")
      .setUrn(urn())
      .setOlds(struct(olds))
      .setNews(struct(news))
      .setPreview(preview)
      .setTimeout(timeout);
    const answer = await promise<InstanceType<typeof pb.UpdateResponse>>((done) => this.client.update(request, done));
    return js(answer.getProperties());
  }

  async delete(state: Props, { timeout = 0 }: Asks = {}): Promise<void> {
    const request = new pb.DeleteRequest().setId("w1").setUrn(urn()).setProperties(struct(state)).setTimeout(timeout);
    await promise((done) => this.client.delete(request, done));
  }

  async handshake() {
    const request = new pb.ProviderHandshakeRequest().setEngineAddress("127.0.0.1:1");
    return await promise<InstanceType<typeof pb.ProviderHandshakeResponse>>((done) =>
      this.client.handshake(request, done),
    );
  }

  async configure() {
    const request = new pb.ConfigureRequest().setAcceptsecrets(true);
    return await promise<InstanceType<typeof pb.ConfigureResponse>>((done) => this.client.configure(request, done));
  }

  async version(): Promise<string> {
    const answer = await promise<{ getVersion(): string }>((done) =>
      this.client.getPluginInfo(new emptyPb.Empty(), done),
    );
    return answer.getVersion();
  }

  async cancel(): Promise<void> {
    await promise((done) => this.client.cancel(new emptyPb.Empty(), done));
  }
}

type Done<T> = (error: Error | null, answer: T) => void;

function promise<T>(call: (done: Done<T>) => unknown): Promise<T> {
  return new Promise((resolve, reject) => {
    call((error, answer) => {
      if (error) reject(error);
      else resolve(answer);
    });
  });
}

function struct(props: Props): Struct {
  return structPb.Struct.fromJavaScript(props as Parameters<typeof structPb.Struct.fromJavaScript>[0]);
}

function js(value: Struct | undefined): Props {
  return value?.toJavaScript() ?? {};
}
