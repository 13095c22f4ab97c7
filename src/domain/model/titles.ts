/** What has a name, and perhaps a namespace; every Kubernetes object fits. */
export interface Titled {
  metadata?: { namespace?: string | undefined; name?: string | undefined } | undefined;
}

/** How an object is named to a reader: `namespace/name`. */
export function titleOf({ metadata }: Titled): string {
  return `${metadata?.namespace ?? ""}/${metadata?.name ?? ""}`;
}
