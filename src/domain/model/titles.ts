/** An object with a name, and perhaps a namespace; every Kubernetes object fits. */
export interface Titled {
  metadata?: { namespace?: string | undefined; name?: string | undefined } | undefined;
}

/** The name of an object in messages: `namespace/name`. */
export function titleOf({ metadata }: Titled): string {
  return `${metadata?.namespace ?? ""}/${metadata?.name ?? ""}`;
}
