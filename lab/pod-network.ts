/**
 * The lab's pod network. Kubernetes refuses loopback addresses in EndpointSlices, so a pod that listens on 127.x.y.z
 * has the address 10.x.y.z in the API, and a caller translates it back: the job of an overlay network on a real node.
 */

/** Address of a pod in the API, for the address that it listens on. */
export const podAddress = (listening: string): string => listening.replace(/^127\./, "10.");

/** Address that a pod listens on, for its address in the API. */
export const reachable = (address: string): string => address.replace(/^10\./, "127.");
