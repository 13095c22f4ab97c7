/** What a node image promises to the steps: the files through which a step and a guest communicate. */
export const guest = {
  /** Describes the image, as JSON: `image`, `rke2`, `kernel`, and `units`, a list of those that not every image has. */
  image: "/etc/evergreen/image.json",
  /** Join data: a fragment of RKE2's configuration. Empty: the guest wipes its join data and stops RKE2. */
  join: "/etc/evergreen/join.yaml",
  /** Written after the join data: `<server|agent> <sha256 of the join data>`. Empty, after empty join data: wipe. */
  marker: "/etc/evergreen/join.ready",
  /**
   * Written, with any text, on a server that is about to step down: its unit makes the health checks of the
   * registration address fail, lets requests end, and hands the leadership of etcd over. Empty: the server stays after
   * all.
   */
  yield: "/etc/evergreen/yield",
  /** Repeats the text of `yield` once its unit has carried it out. */
  yielded: "/etc/evergreen/yielded",
  /**
   * RKE2's registries.yaml, when the stack has `evergreen:registries`; the join data names it (`private-registry`). The
   * guest agent makes files that all may read: the mode of the directory keeps its passwords.
   */
  registries: "/etc/evergreen/registries.yaml",
  /** How the paths of its certificates and keys begin; 16 hex digits of their content and `.pem` follow. */
  registryPems: "/etc/evergreen/registry-",
  /**
   * Written, with the SHA-256 of `registries.yaml`, on a node that runs, when that is another one. The unit `registries`
   * copies `registries.yaml` to RKE2's default place, `/etc/rancher/rke2/registries.yaml`, restarts RKE2 if it runs or
   * starts, waits until it is active, and repeats the text in `registriesLoaded`.
   */
  registriesReload: "/etc/evergreen/registries.reload",
  /**
   * The SHA-256 of the registries.yaml that RKE2 has started with. A join writes it before the first start. Empty: RKE2 is
   * told to restart; any other text: it is not.
   */
  registriesLoaded: "/etc/evergreen/registries.loaded",
  /**
   * Written by the unit `registries` when RKE2 has ended several times instead of starting: the text of
   * `registriesReload`, and in the lines after it the end of RKE2's log. The unit waits on, for systemd tries again. Images
   * that are older have no such file.
   */
  registriesFailed: "/etc/evergreen/registries.failed",
  /** The last output of the join unit and of RKE2. */
  log: "/var/log/evergreen/join.log",
  /** RKE2's own configuration. On an adopted node it shows how the node joined. */
  config: "/etc/rancher/rke2/config.yaml",
  /** Kubeconfig of the cluster admin, on servers. */
  kubeconfig: "/etc/rancher/rke2/rke2.yaml",
  /** Server token, on servers. Equivalent to cluster admin. */
  serverToken: "/var/lib/rancher/rke2/server/token",
  /** Name of its member in etcd, on servers that have begun to join. */
  member: "/var/lib/rancher/rke2/server/db/etcd/name",
} as const;

/** The entry of `units` in `image.json` that promises to act on `registriesReload`. */
export const unitOfRegistries = "registries";

/** Ports of the registration address. */
export const ports = { supervisor: 9345, api: 6443 } as const;

/**
 * Port on which a server of our own images answers the health checks of a balancer, over plain HTTP and to anybody: 200
 * while it shall get requests, else 503.
 */
export const healthPort = 9346;
