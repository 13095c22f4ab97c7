/** The real programs of a server guest, with the flags that let several of them run on one host. */
import type { AuditFlags } from "../audit.ts";
import type { Processes, Supervised } from "../process.ts";
import type { Cluster } from "./cluster.ts";
import type { Binaries, GuestContext } from "./context.ts";

/** A server's place in its cluster. */
export interface Seat {
  cluster: Cluster;
  binaries: Binaries;
  processes: Processes;
  audit: AuditFlags;
  vmid: number;
  address: string;
}

/** How etcd starts. With data it ignores the initial cluster and its state. */
export interface EtcdStart {
  member: string;
  dataDirectory: string;
  /** `name=https://address:2380` of every member, itself included. */
  initialCluster: readonly string[];
  state: "new" | "existing";
  /** Start with `--force-new-cluster`: etcd drops every other member. @default false */
  alone?: boolean;
}

/** The seat of a guest in a cluster. */
export function seatOf({ address, machine, rack }: GuestContext, cluster: Cluster): Seat {
  const { binaries, processes, audit } = rack;
  return { cluster, address, vmid: machine.vmid, binaries, processes, audit };
}

export function startEtcd(seat: Seat, start: EtcdStart): Supervised {
  const { address, cluster } = seat;
  const client = `https://${address}:2379`;
  const peer = `https://${address}:2380`;
  const certificate = [cluster.file(`${address}-etcd.crt`), cluster.file(`${address}-etcd.key`)] as const;
  return run(seat, "etcd", seat.binaries.etcd, {
    name: start.member,
    "data-dir": start.dataDirectory,
    "listen-client-urls": client,
    "advertise-client-urls": client,
    "listen-peer-urls": peer,
    "initial-advertise-peer-urls": peer,
    "listen-metrics-urls": `http://${address}:2381`,
    "initial-cluster": start.initialCluster.join(","),
    "initial-cluster-state": start.state,
    "force-new-cluster": String(start.alone ?? false),
    "client-cert-auth": "true",
    "trusted-ca-file": cluster.file("etcd-ca.crt"),
    "cert-file": certificate[0],
    "key-file": certificate[1],
    "peer-client-cert-auth": "true",
    "peer-trusted-ca-file": cluster.file("etcd-ca.crt"),
    "peer-cert-file": certificate[0],
    "peer-key-file": certificate[1],
    // A power cut of the emulated VM loses nothing that the host's kernel has; only a crash of the host would.
    "unsafe-no-fsync": "true",
    "log-level": "warn",
  });
}

export function startApiServer(seat: Seat): Supervised {
  const { address, cluster } = seat;
  const last = address.slice(address.lastIndexOf(".") + 1);
  return run(seat, "kube-apiserver", seat.binaries.kubeApiserver, {
    "etcd-servers": `https://${address}:2379`,
    "etcd-cafile": cluster.file("etcd-ca.crt"),
    "etcd-certfile": cluster.file("etcd-client.crt"),
    "etcd-keyfile": cluster.file("etcd-client.key"),
    "bind-address": address,
    "secure-port": "6443",
    // Endpoints refuse loopback addresses; this address need not exist.
    "advertise-address": `10.40.0.${last}`,
    // On one host all servers would compete for the single lease of the identity.
    "feature-gates": "APIServerIdentity=false",
    "tls-cert-file": cluster.file(`${address}-apiserver.crt`),
    "tls-private-key-file": cluster.file(`${address}-apiserver.key`),
    "client-ca-file": cluster.file("client-ca.crt"),
    "service-account-issuer": "https://kubernetes.default.svc.cluster.local",
    "service-account-key-file": cluster.file("service.pub"),
    "service-account-signing-key-file": cluster.file("service.key"),
    "service-cluster-ip-range": cluster.ranges.services.join(","),
    "authorization-mode": "Node,RBAC",
    // As RKE2 starts it (rke2#3146): who asks without credentials gets 401, also for /readyz.
    "anonymous-auth": "false",
    "enable-admission-plugins": "NodeRestriction",
    "enable-bootstrap-token-auth": "true",
    "requestheader-client-ca-file": cluster.file("request-header-ca.crt"),
    "requestheader-allowed-names": "system:auth-proxy",
    "requestheader-username-headers": "X-Remote-User",
    "requestheader-group-headers": "X-Remote-Group",
    "requestheader-extra-headers-prefix": "X-Remote-Extra-",
    "proxy-client-cert-file": cluster.file("front-proxy.crt"),
    "proxy-client-key-file": cluster.file("front-proxy.key"),
    "default-not-ready-toleration-seconds": "20",
    "default-unreachable-toleration-seconds": "20",
    "allow-privileged": "true",
    profiling: "false",
    v: "1",
    ...seat.audit,
  });
}

/** Starts scheduler and controller manager. Both exit when they lose leadership and are then started again. */
export function startControllers(seat: Seat): Supervised[] {
  const { cluster } = seat;
  const manager = run(seat, "kube-controller-manager", seat.binaries.kubeControllerManager, {
    ...electing(seat, "controller", "10257"),
    controllers: "*,bootstrapsigner,tokencleaner",
    "use-service-account-credentials": "true",
    "service-account-private-key-file": cluster.file("service.key"),
    "root-ca-file": cluster.file("server-ca.crt"),
    "cluster-signing-cert-file": cluster.file("client-ca.crt"),
    "cluster-signing-key-file": cluster.file("client-ca.key"),
    "client-ca-file": cluster.file("client-ca.crt"),
    "requestheader-client-ca-file": cluster.file("request-header-ca.crt"),
    "node-monitor-period": "1s",
    "node-monitor-grace-period": "10s",
    "node-startup-grace-period": "15s",
    ...podNetworks(cluster.ranges),
    "kube-api-qps": "100",
    "kube-api-burst": "200",
  });
  const scheduler = run(seat, "kube-scheduler", seat.binaries.kubeScheduler, electing(seat, "scheduler", "10259"));
  return [manager, scheduler];
}

/** Nodes get networks for their pods where these have two families. The lab's own pod network is another one. */
function podNetworks({ pods, services }: Cluster["ranges"]): Record<string, string> {
  if (pods.length < 2) return {};
  return {
    "allocate-node-cidrs": "true",
    "cluster-cidr": pods.join(","),
    "service-cluster-ip-range": services.join(","),
  };
}

function electing({ address, cluster }: Seat, name: string, port: string): Record<string, string> {
  const kubeconfig = cluster.file(`${address}-${name}.kubeconfig`);
  return {
    kubeconfig,
    "authentication-kubeconfig": kubeconfig,
    "authorization-kubeconfig": kubeconfig,
    "bind-address": address,
    "secure-port": port,
    "leader-elect": "true",
    "leader-elect-lease-duration": "6s",
    "leader-elect-renew-deadline": "4s",
    "leader-elect-retry-period": "1s",
    profiling: "false",
    v: "1",
  };
}

function run(seat: Seat, name: string, command: string, flags: Record<string, string>): Supervised {
  const args = Object.entries(flags).map(([flag, value]) => `--${flag}=${value}`);
  return seat.processes.start({ name: `${seat.vmid}-${name}`, command, args, restart: true });
}
