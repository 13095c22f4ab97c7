/** The table of all programs and plugins that Evergreen builds or installs, with their pinned versions. */

/** Which part of Evergreen needs a tool: the Pulumi engine, or the data centre in a box. */
export type Part = "engine" | "lab";

/** A program that is built from pinned Go modules. The `go.sum` of its module holds the hash of every module. */
export interface GoTool {
  /** Common name, which is also part of the cache's key. */
  name: string;
  /** Upstream version of the program. */
  version: string;
  /** File name of the program. */
  binary: string;
  /** Directory of its Go module, relative to the project. */
  module: string;
  /** Package that `go build` builds. */
  package: string;
  /** Variables for the linker: the version that the program reports. */
  variables: Readonly<Record<string, string>>;
  /**
   * Shell lines of a launcher that replaces the program, which is `$PROGRAM` in them. It is for a program that needs an
   * argument which its caller does not pass.
   */
  launcher?: string;
  part: Part;
  /** Its purpose, in one line. */
  purpose: string;
}

/** A plugin of the Pulumi engine. */
export interface Plugin {
  name: string;
  version: string;
  /** Where it is published, when that is not the engine's default. */
  server?: string;
  purpose: string;
}

/** The oldest Pulumi CLI on PATH that is used instead of the pinned one. */
export const OLDEST_PULUMI = "3.220.0";

const KUBERNETES = "1.34.4";
const PULUMI = "3.259.0";
const LANGUAGE_HOST = "3.68.0";

const sdkVersion = "github.com/pulumi/pulumi/sdk/v3/go/common/version.Version";

export const pulumi: GoTool = {
  name: "pulumi",
  version: PULUMI,
  binary: "pulumi",
  module: "tools/go/pulumi",
  package: "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi",
  variables: { "github.com/pulumi/pulumi/pkg/v3/version.Version": `v${PULUMI}`, [sdkVersion]: `v${PULUMI}` },
  part: "engine",
  purpose: "the Pulumi command line and engine",
};

export const languageHost: GoTool = {
  name: "pulumi-language-nodejs",
  version: LANGUAGE_HOST,
  binary: "pulumi-language-nodejs",
  module: "tools/go/language-host",
  package: "github.com/pulumi/pulumi/sdk/v3/nodejs/cmd/pulumi-language-nodejs",
  variables: { [sdkVersion]: `v${LANGUAGE_HOST}` },
  // The pinned engine sends the runtime options of Pulumi.yaml in a field that this host does not know: it needs flags.
  // Without them it would load its own old TypeScript, and would use the first Node on PATH, whatever its version.
  launcher: `[ -f tools/node24.mjs ] && set -- "-nodeargs=--import ./tools/node24.mjs" "$@"
exec "$PROGRAM" -typescript=false "$@"`,
  part: "engine",
  purpose: "starts the program for the engine",
};

/** The same upstream code as in the official plugin, under the same tokens: tools/go/proxmoxve/main.go. */
export const proxmoxStandIn: GoTool = {
  name: "proxmoxve",
  version: "8.6.0",
  binary: "pulumi-resource-proxmoxve",
  module: "tools/go/proxmoxve",
  package: ".",
  variables: { "main.version": "8.6.0" },
  part: "engine",
  purpose: "stands in for the plugin proxmoxve where release downloads are out of reach",
};

const etcd: GoTool = {
  name: "etcd",
  version: "3.6.5",
  binary: "etcd",
  module: "tools/go/etcd",
  package: "go.etcd.io/etcd/server/v3",
  variables: {},
  part: "lab",
  purpose: "one member in each server VM of the lab",
};

/** Built from the same module as etcd, so that both have the same version. */
const etcdutl: GoTool = {
  ...etcd,
  name: "etcdutl",
  binary: "etcdutl",
  package: "go.etcd.io/etcd/etcdutl/v3",
  purpose: "restores an etcd snapshot in a server VM of the lab, as RKE2 does with the same code",
};

const kubernetes = (binary: string, purpose: string): GoTool => ({
  name: binary,
  version: KUBERNETES,
  binary,
  module: "tools/go/kubernetes",
  package: `k8s.io/kubernetes/cmd/${binary}`,
  variables: {
    "k8s.io/component-base/version.gitVersion": `v${KUBERNETES}`,
    "k8s.io/component-base/version.gitMajor": "1",
    "k8s.io/component-base/version.gitMinor": "34",
  },
  part: "lab",
  purpose,
});

/** An S3 server that checks signatures and supports object lock as a real bucket does. Apache-2.0. */
const versitygw: GoTool = {
  name: "versitygw",
  version: "1.8.0",
  binary: "versitygw",
  module: "tools/go/versitygw",
  package: "github.com/versity/versitygw/cmd/versitygw",
  variables: { "main.Version": "v1.8.0" },
  part: "lab",
  purpose: "the S3 server that the lab's etcd snapshots go to",
};

/** Programs that the lab runs: those of its server VMs, and an S3 server. */
export const labTools: readonly GoTool[] = [
  etcd,
  etcdutl,
  versitygw,
  kubernetes("kube-apiserver", "one in each server VM of the lab"),
  kubernetes("kube-controller-manager", "the lab's controllers: ReplicaSets, Nodes, PodDisruptionBudgets"),
  kubernetes("kube-scheduler", "places the lab's pods"),
];

export const goTools: readonly GoTool[] = [pulumi, languageHost, proxmoxStandIn, ...labTools];

/** The plugins that the npm packages need: a test compares these versions with package.json. */
export const plugins: readonly Plugin[] = [
  { name: "command", version: "1.2.1", purpose: "runs the steps of a rollout" },
  {
    name: "proxmoxve",
    version: "8.6.0",
    server: "github://api.github.com/muhlba91/pulumi-proxmoxve",
    purpose: "makes and removes the VMs",
  },
];

/** Flags of every build. The go.sum files are committed: a build that would change them fails. */
export const BUILD_FLAGS: readonly string[] = ["-mod=readonly", "-trimpath", "-buildvcs=false"];

/** Environment of every build: only the installed Go, no C compiler, no Go workspace around the project. */
export const BUILD_ENVIRONMENT = { GOTOOLCHAIN: "local", GOWORK: "off", CGO_ENABLED: "0" } as const;
