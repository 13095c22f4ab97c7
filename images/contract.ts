/** What an image of ours promises to whoever clones it: the files through which a step and a guest talk. */
export const guest = {
  /** What the image holds, as JSON: `image`, `rke2`, `kernel`. */
  image: "/etc/evergreen/image.json",
  /** Join data: a fragment of RKE2's configuration. Empty: wipe. */
  join: "/etc/evergreen/join.yaml",
  /** Written after the join data: `<server|agent> <sha256 of the join data>`. Empty, after empty join data: wipe. */
  marker: "/etc/evergreen/join.ready",
  /**
   * Written on a server that is about to leave, with any text: its unit makes the health checks of the registration
   * address fail, lets requests end, and hands the leadership of etcd over. Empty: it stays after all.
   */
  yield: "/etc/evergreen/yield",
  /** The text of `yield` once it was carried out. */
  yielded: "/etc/evergreen/yielded",
  /** What the join unit and RKE2 said last. */
  log: "/var/log/evergreen/join.log",
  /** RKE2's own configuration, where a node that was not made by us says how it joined. */
  config: "/etc/rancher/rke2/config.yaml",
  /** Cluster admin's kubeconfig, on servers. */
  kubeconfig: "/etc/rancher/rke2/rke2.yaml",
  /** Server token, on servers. Equals cluster admin. */
  serverToken: "/var/lib/rancher/rke2/server/token",
} as const;

/** Ports of the registration address. */
export const ports = { supervisor: 9345, api: 6443 } as const;
