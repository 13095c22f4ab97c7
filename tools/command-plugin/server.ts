import grpc from "@grpc/grpc-js";
import type { handleUnaryCall, UntypedServiceImplementation } from "@grpc/grpc-js";
import engineRpc from "@pulumi/pulumi/proto/engine_grpc_pb.js";
import type { EngineClient } from "@pulumi/pulumi/proto/engine_grpc_pb.js";
import enginePb from "@pulumi/pulumi/proto/engine_pb.js";
import pluginPb from "@pulumi/pulumi/proto/plugin_pb.js";
import providerRpc from "@pulumi/pulumi/proto/provider_grpc_pb.js";
import type { IResourceProviderServer } from "@pulumi/pulumi/proto/provider_grpc_pb.js";
import pb from "@pulumi/pulumi/proto/provider_pb.js";
import emptyPb from "google-protobuf/google/protobuf/empty_pb.js";
import structPb from "google-protobuf/google/protobuf/struct_pb.js";
import type { Struct } from "google-protobuf/google/protobuf/struct_pb.js";
import { messageOf } from "../../src/runtime/errors.ts";
import { Command, type Request } from "./command.ts";
import { difference, type Change } from "./difference.ts";
import type { Runner } from "./runner.ts";
import type { Props } from "./values.ts";

const VERSION = "1.2.1";

/** Sends the commands' lines to the engine, which shows them beside the resource while it runs. */
class EngineLog {
  private client: EngineClient | undefined;

  connect(address: string | undefined): void {
    if (address && !this.client) this.client = new engineRpc.EngineClient(address, grpc.credentials.createInsecure());
  }

  info(urn: string, message: string): void {
    const severity = enginePb.LogSeverity.INFO;
    const request = new enginePb.LogRequest().setUrn(urn).setMessage(message).setSeverity(severity).setEphemeral(true);
    // A lost progress line must not fail the command.
    this.client?.log(request, () => undefined);
  }
}

/** A provider that is being served. */
export interface Served {
  port: number;
  /** Accepts no more requests, answers the open ones, and then resolves. */
  end: () => Promise<void>;
}

/** Serves the provider on a loopback port that the kernel chooses. */
export function serve(runner: Runner, engineAddress: string | undefined): Promise<Served> {
  const log = new EngineLog();
  log.connect(engineAddress);
  const server = new grpc.Server({ "grpc.max_receive_message_length": -1 });
  server.addService(providerRpc.ResourceProviderService, handlers(runner, log));
  return new Promise((resolve, reject) => {
    server.bindAsync("127.0.0.1:0", grpc.ServerCredentials.createInsecure(), (error, port) => {
      if (error) reject(error);
      else resolve({ port, end: () => new Promise((ended) => server.tryShutdown(() => ended())) });
    });
  });
}

type Handlers = UntypedServiceImplementation & Partial<IResourceProviderServer>;

function handlers(runner: Runner, log: EngineLog): Handlers {
  const command = new Command(runner, (urn, line) => log.info(urn, line));
  return {
    handshake: unary((request) => {
      log.connect(request.getEngineAddress());
      return new pb.ProviderHandshakeResponse().setAcceptSecrets(true);
    }),
    attach: unary((request) => {
      log.connect(request.getAddress());
      return new emptyPb.Empty();
    }),
    getPluginInfo: unary(() => new pluginPb.PluginInfo().setVersion(VERSION)),
    getSchema: unary(() => new pb.GetSchemaResponse().setSchema(JSON.stringify({ name: "command", version: VERSION }))),
    checkConfig: unary((request) => new pb.CheckResponse().setInputs(request.getNews())),
    diffConfig: unary(() => new pb.DiffResponse().setChanges(pb.DiffResponse.DiffChanges.DIFF_NONE)),
    configure: unary(() => new pb.ConfigureResponse().setAcceptsecrets(true).setSupportspreview(true)),
    cancel: unary(() => {
      runner.cancel();
      return new emptyPb.Empty();
    }),
    ...resource(command),
  };
}

function resource(command: Command): Partial<IResourceProviderServer> {
  return {
    check: unary((request) => {
      const failures = command.check(typeOf(request.getUrn()), props(request.getNews()));
      const answer = new pb.CheckResponse().setInputs(request.getNews());
      for (const { property, reason } of failures)
        answer.addFailures(new pb.CheckFailure().setProperty(property).setReason(reason));
      return answer;
    }),
    diff: unary((request) => {
      const ignored = new Set(request.getIgnorechangesList());
      const olds = props(request.getOldInputs() ?? request.getOlds());
      const changes = difference(olds, props(request.getNews())).filter(({ path }) => !ignored.has(path));
      return diffAnswer(changes);
    }),
    create: unary(async (request) => {
      const { id, outputs } = await command.create(asked(request), props(request.getProperties()));
      return new pb.CreateResponse().setId(id).setProperties(struct(outputs));
    }),
    update: unary(async (request) => {
      const outputs = await command.update(asked(request), props(request.getOlds()), props(request.getNews()));
      return new pb.UpdateResponse().setProperties(struct(outputs));
    }),
    delete: unary(async (request) => {
      const asks = { urn: request.getUrn(), timeout: request.getTimeout(), preview: false };
      await command.delete(asks, props(request.getProperties()));
      return new emptyPb.Empty();
    }),
    // There is nothing to read: only its output shows what a command did.
    read: unary((request) =>
      new pb.ReadResponse()
        .setId(request.getId())
        .setProperties(request.getProperties())
        .setInputs(request.getInputs()),
    ),
    invoke: unary(async (request) => {
      const outputs = await command.invoke(request.getTok(), props(request.getArgs()));
      return new pb.InvokeResponse().setReturn(struct(outputs));
    }),
  };
}

function diffAnswer(changes: readonly Change[]) {
  const { DIFF_NONE, DIFF_SOME } = pb.DiffResponse.DiffChanges;
  const { Kind } = pb.PropertyDiff;
  const kinds = { add: Kind.ADD, delete: Kind.DELETE, update: Kind.UPDATE };
  const replacing = { add: Kind.ADD_REPLACE, delete: Kind.DELETE_REPLACE, update: Kind.UPDATE_REPLACE };
  const answer = new pb.DiffResponse().setHasdetaileddiff(true).setChanges(changes.length > 0 ? DIFF_SOME : DIFF_NONE);
  for (const { path, kind, replace } of changes) {
    const detail = new pb.PropertyDiff().setKind((replace ? replacing : kinds)[kind]).setInputdiff(true);
    answer.getDetaileddiffMap().set(path, detail);
    const property = path.split(".", 1)[0] ?? path;
    if (!answer.getDiffsList().includes(property)) answer.addDiffs(property);
    if (replace) answer.addReplaces(path);
  }
  return answer;
}

function unary<Q, A>(handle: (request: Q) => A | Promise<A>): handleUnaryCall<Q, A> {
  return (call, callback) => {
    const answered = async () => await handle(call.request);
    answered().then(
      (answer) => callback(null, answer),
      (error: unknown) => callback({ code: grpc.status.UNKNOWN, details: messageOf(error) }),
    );
  };
}

function asked(request: { getUrn(): string; getTimeout(): number; getPreview(): boolean }): Request {
  return { urn: request.getUrn(), timeout: request.getTimeout(), preview: request.getPreview() };
}

/** The type in a URN: `urn:pulumi:STACK::PROJECT::PARENT$TYPE::NAME`. */
function typeOf(urn: string): string {
  return urn.split("::")[2]?.split("$").at(-1) ?? "";
}

function props(value: Struct | undefined): Props {
  return value?.toJavaScript() ?? {};
}

function struct(value: Props): Struct {
  return structPb.Struct.fromJavaScript(value as Parameters<typeof structPb.Struct.fromJavaScript>[0]);
}
