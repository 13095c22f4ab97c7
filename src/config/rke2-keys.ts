import type { Problem } from "../runtime/errors.ts";

/** Keys that Evergreen writes for every node. */
const OURS = [
  ...["server", "token", "token-file", "agent-token", "agent-token-file"],
  ...["node-name", "with-node-id", "node-label", "node-taint"],
];

/** Keys that cannot work in a pool, or that move something the steps rely on, with the reason. */
const REFUSED: Readonly<Record<string, string>> = {
  config: "RKE2 would read another file than the one that the join writes",
  "data-dir":
    "the server token, the snapshots and the wipe of a node that leaves are looked for in /var/lib/rancher/rke2",
  "write-kubeconfig": "the way into the cluster is read from /etc/rancher/rke2/rke2.yaml",
  "https-listen-port": "the registration address leads to the ports 9345 and 6443",
  "supervisor-port": "the registration address leads to the ports 9345 and 6443",
  "apiserver-port": "the registration address leads to the ports 9345 and 6443",
  "cluster-init": "every server that is made anew would found a cluster of its own",
  "cluster-reset": "every server that is made anew would throw all others out of etcd",
  "cluster-reset-restore-path": "every server that is made anew would go back to that snapshot",
  "datastore-endpoint": "servers are replaced as members of the etcd that RKE2 runs on them",
  "datastore-cafile": "servers are replaced as members of the etcd that RKE2 runs on them",
  "datastore-certfile": "servers are replaced as members of the etcd that RKE2 runs on them",
  "datastore-keyfile": "servers are replaced as members of the etcd that RKE2 runs on them",
  "disable-etcd": "every server is a member of etcd, and is looked at as one",
  "disable-apiserver": "every server has an API server, and is asked at its own address",
  "disable-controller-manager": "every server is alike, so that any of them may leave",
  "disable-scheduler": "every server is alike, so that any of them may leave",
  "disable-agent": "a server without a kubelet has no Node, and never counts as joined",
  "node-ip": "it is one address for all nodes of the pool, and for the old and the new one of a slot",
  "node-external-ip": "it is one address for all nodes of the pool, and for the old and the new one of a slot",
  "node-internal-dns": "it is one name for all nodes of the pool",
  "node-external-dns": "it is one name for all nodes of the pool",
  "advertise-address": "it is one address for all servers",
};

/** Short forms of keys that RKE2 accepts. */
const ALIASES: Readonly<Record<string, string>> = {
  t: "token",
  s: "server",
  d: "data-dir",
  c: "config",
  o: "write-kubeconfig",
};

/** Kubelet flags that set the identity of the node. */
const IDENTITY = /^(--)?(hostname-override|node-labels|register-with-taints|register-node|kubeconfig)(=|$)/;

/** The key as RKE2 understands it. A trailing `+` appends to a list, or sets the value where there is no list. */
export function plainKey(key: string): string {
  const plain = key.trim().replace(/\+$/, "").toLowerCase();
  return ALIASES[plain] ?? plain;
}

/** The problems of the keys under a pool's `config`. */
export function rke2KeyProblems(path: string, config: Readonly<Record<string, unknown>>): Problem[] {
  return Object.entries(config).flatMap(([key, value]) =>
    problemsOf(key, value).map((problem) => ({ ...problem, where: `${path}.config.${key}` })),
  );
}

function problemsOf(key: string, value: unknown): Omit<Problem, "where">[] {
  const plain = plainKey(key);
  if (plain === "tls-san") return [{ what: "tls-san has a place of its own", todo: "use evergreen:site.tlsSans" }];
  if (OURS.includes(plain))
    return [
      { what: `${key} is written by Evergreen itself`, todo: "remove it; labels and taints are keys of the pool" },
    ];
  const why = REFUSED[plain];
  if (why !== undefined) return [{ what: `${key} cannot be set: ${why}`, todo: "remove it" }];
  if (/(^|-)(password|token|secret-key|access-key)$|^vpn-auth$/.test(plain))
    return [
      {
        what: `${key} is a secret, and this becomes part of the state`,
        todo: "keep it in the image or in a Kubernetes Secret",
      },
    ];
  const flags = plain === "kubelet-arg" ? [value].flat().filter((one) => typeof one === "string") : [];
  const flag = flags.find((one) => IDENTITY.test(one));
  if (flag === undefined) return [];
  return [
    {
      what: `kubelet-arg ${flag} says who the node is, and that is written by Evergreen itself`,
      todo: "remove it; labels and taints are keys of the pool",
    },
  ];
}
