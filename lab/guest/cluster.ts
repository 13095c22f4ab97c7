/** What the servers of one cluster share and a real RKE2 keeps in its datastore: certificates and tokens. */
import { randomBytes } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Authority, signingKeys } from "../pki.ts";
import type { Credentials } from "../pki.ts";
import type { Balancer } from "./balancer.ts";
import { withDefaults } from "./families.ts";
import type { Ranges } from "./join.ts";
import type { Server } from "./server.ts";

/** Host names of the API server that every certificate contains. */
const apiNames = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "localhost", "10.43.0.1", "127.0.0.1"];

export class Cluster {
  readonly serverCa = new Authority("rke2-server-ca");
  readonly clientCa = new Authority("rke2-client-ca");
  readonly etcdCa = new Authority("etcd-server-ca");
  /** Credentials of the cluster administrator. */
  readonly admin: Credentials;
  /** Credentials of an etcd client. */
  readonly etcdClient: Credentials;
  /** `K10<hash of the server CA>::server:<password>` */
  readonly serverToken: string;
  readonly password = randomBytes(16).toString("hex");
  /** Servers that run now and are members of etcd, by VMID. */
  readonly servers = new Map<number, Server>();
  /** The registration address. */
  readonly balancer: Balancer;
  /** Directory of the files that the real programs read. */
  readonly directory: string;
  readonly ranges: Ranges;

  constructor(parent: string, balancer: Balancer, ranges: Ranges) {
    this.balancer = balancer;
    this.ranges = withDefaults(ranges);
    this.directory = join(parent, `cluster-${this.serverCa.hash.slice(0, 8)}`);
    this.serverToken = `K10${this.serverCa.hash}::server:${this.password}`;
    this.admin = this.clientCa.issue({
      commonName: "system:admin",
      organizations: ["system:masters"],
      usages: ["client"],
    });
    this.etcdClient = this.etcdCa.issue({ commonName: "etcd-client", usages: ["client"] });
    mkdirSync(this.directory, { recursive: true, mode: 0o700 });
    this.writeShared();
  }

  /** Path of a file of the directory. */
  file(name: string): string {
    return join(this.directory, name);
  }

  /** Issues a server's certificates, `<address>-etcd` and `<address>-apiserver`, and its controllers' kubeconfigs. */
  certifyServer(address: string, more: readonly string[]): void {
    const etcd = this.etcdCa.issue({ commonName: "etcd-server", names: ["localhost", "127.0.0.1", address] });
    this.write(`${address}-etcd`, etcd);
    this.write(`${address}-apiserver`, this.serving(address, more));
    this.kubeconfig("controller", "system:kube-controller-manager", address);
    this.kubeconfig("scheduler", "system:kube-scheduler", address);
  }

  /** Issues a serving certificate for the API server or the supervisor of a server. */
  serving(address: string, more: readonly string[]): Credentials {
    const names = [...new Set([...apiNames, address, ...more])];
    return this.serverCa.issue({ commonName: "kube-apiserver", usages: ["server"], names });
  }

  kubeletIdentity(node: string): Credentials {
    const commonName = `system:node:${node}`;
    return this.clientCa.issue({ commonName, organizations: ["system:nodes"], usages: ["client"] });
  }

  /** @param server `https://127.0.0.1:6443` */
  adminKubeconfig(server: string): string {
    return kubeconfig(server, this.serverCa.cert, this.admin);
  }

  private writeShared(): void {
    const frontProxyCa = new Authority("rke2-request-header-ca");
    const accounts = signingKeys();
    this.write("server-ca", this.serverCa);
    this.write("client-ca", this.clientCa);
    this.write("etcd-ca", this.etcdCa);
    this.write("etcd-client", this.etcdClient);
    this.write("request-header-ca", frontProxyCa);
    this.write("front-proxy", frontProxyCa.issue({ commonName: "system:auth-proxy", usages: ["client"] }));
    this.put("service.pub", accounts.publicKey);
    this.put("service.key", accounts.privateKey);
  }

  private kubeconfig(name: string, commonName: string, address: string): void {
    const user = this.clientCa.issue({ commonName, usages: ["client"] });
    this.put(`${address}-${name}.kubeconfig`, kubeconfig(`https://${address}:6443`, this.serverCa.cert, user));
  }

  private write(name: string, { cert, key }: Credentials): void {
    this.put(`${name}.crt`, cert);
    this.put(`${name}.key`, key);
  }

  private put(name: string, content: string): void {
    writeFileSync(this.file(name), content, { mode: 0o600 });
  }
}

function kubeconfig(server: string, ca: string, user: Credentials): string {
  const base64 = (text: string) => Buffer.from(text).toString("base64");
  return `apiVersion: v1
kind: Config
clusters:
  - name: default
    cluster:
      certificate-authority-data: ${base64(ca)}
      server: ${server}
contexts:
  - name: default
    context:
      cluster: default
      user: default
current-context: default
users:
  - name: default
    user:
      client-certificate-data: ${base64(user.cert)}
      client-key-data: ${base64(user.key)}
`;
}
