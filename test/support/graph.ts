import { MockMonitor } from "@pulumi/pulumi/runtime/mocks.js";
import * as pulumi from "@pulumi/pulumi";

/** A resource as it would be registered with the engine. */
export interface Registered {
  urn: string;
  type: string;
  name: string;
  inputs: Record<string, unknown>;
  dependencies: string[];
  ignoreChanges: string[];
  protect: boolean;
  /** Whether it may be without a parent in the state. */
  mayBeAtTop: boolean;
}

interface RegisterRequest {
  getAliasesList(): { getSpec(): { getNoparent(): boolean } | undefined }[];
  getType(): string;
  getName(): string;
  getDependenciesList(): string[];
  getIgnorechangesList(): string[];
  getProtect(): boolean;
}

interface RegisterAnswer {
  getUrn(): string;
}

type Register = (request: RegisterRequest, callback: (error: unknown, answer: RegisterAnswer) => void) => Promise<void>;

/** Runs `program` against mocks and returns what it registered, with the real dependency edges. */
export async function graphOf(program: () => unknown): Promise<Graph> {
  const inputs = new Map<string, Record<string, unknown>>();
  await pulumi.runtime.setMocks(
    {
      newResource: (args) => {
        inputs.set(`${args.type}::${args.name}`, args.inputs as Record<string, unknown>);
        const state = { ...(args.inputs as Record<string, unknown>), stdout: `"${args.name}"` };
        return { id: `${args.name}-id`, state };
      },
      call: (args) => args.inputs as Record<string, unknown>,
    },
    "evergreen",
    "test",
    false,
  );
  const registered: Registered[] = [];
  const prototype = MockMonitor.prototype as unknown as { registerResource: Register };
  const original = prototype.registerResource;
  prototype.registerResource = async function (request, callback) {
    await original.call(this, request, (error, answer) => {
      if (!error) {
        registered.push({
          urn: answer.getUrn(),
          type: request.getType(),
          name: request.getName(),
          inputs: inputs.get(`${request.getType()}::${request.getName()}`) ?? {},
          dependencies: request.getDependenciesList(),
          ignoreChanges: request.getIgnorechangesList(),
          protect: request.getProtect(),
          mayBeAtTop: request.getAliasesList().some((one) => one.getSpec()?.getNoparent()),
        });
      }
      callback(error, answer);
    });
  };
  try {
    await pulumi.runtime.runInPulumiStack(async () => {
      await program();
    });
    await pulumi.runtime.disconnect();
  } finally {
    prototype.registerResource = original;
  }
  return new Graph(registered);
}

export class Graph {
  readonly resources: readonly Registered[];
  private readonly byUrn: Map<string, Registered>;

  constructor(resources: readonly Registered[]) {
    this.resources = resources;
    this.byUrn = new Map(resources.map((resource) => [resource.urn, resource]));
  }

  named(name: string): Registered {
    const found = this.resources.find((resource) => resource.name === name && !resource.type.startsWith("evergreen:"));
    if (!found) throw new Error(`no resource ${name}; there are ${this.resources.map((r) => r.name).join(", ")}`);
    return found;
  }

  /** True when `later` cannot start before `earlier` has ended. */
  waitsFor(later: string, earlier: string): boolean {
    const target = this.named(earlier).urn;
    const seen = new Set<string>();
    const queue = [...this.named(later).dependencies];
    for (let urn = queue.pop(); urn !== undefined; urn = queue.pop()) {
      if (urn === target) return true;
      if (seen.has(urn)) continue;
      seen.add(urn);
      queue.push(...(this.byUrn.get(urn)?.dependencies ?? []));
    }
    return false;
  }
}
