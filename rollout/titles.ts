/** What has a name, and perhaps a namespace; every Kubernetes object fits. */
export interface Titled {
  metadata?: { namespace?: string | undefined; name?: string | undefined };
}

/** How an object is named to a reader: `namespace/name`. */
export function titleOf({ metadata }: Titled): string {
  return `${metadata?.namespace ?? ""}/${metadata?.name ?? ""}`;
}

/** The label of a node that most local volumes and spreading rules go by. */
export const HOST_NAME = "kubernetes.io/hostname";
