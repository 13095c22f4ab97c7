/** The keys of the longest waits of steps. */
import { z } from "zod";
import { defaultTimeouts } from "../domain/model/step-environment.ts";

const seconds = (value: number) => z.int().min(1).max(86_400).default(value);

export const timeouts = z.strictObject({
  agentSeconds: seconds(defaultTimeouts.agent).meta({
    description: "From power-on until the guest agent answers.",
    change: "In place.",
  }),
  joinSeconds: seconds(defaultTimeouts.join).meta({
    description: "From writing the join data until the Node is Ready and passes its checks.",
    change: "In place.",
  }),
  storageSeconds: seconds(defaultTimeouts.storage).meta({
    description: "Until the Longhorn replicas of a node are rebuilt on other nodes, before its pods are evicted.",
    change: "In place.",
  }),
  drainSeconds: seconds(defaultTimeouts.drain).meta({
    description:
      "Until all pods of a node are evicted; after that the old node keeps serving. Also until Proxmox unlocks a VM that is to be powered off or destroyed.",
    change: "In place.",
  }),
  volumesSeconds: seconds(defaultTimeouts.volumes).meta({
    description: "Until all volumes of a drained node are detached.",
    change: "In place.",
  }),
  shutdownSeconds: seconds(defaultTimeouts.shutdown).meta({
    description: "Until a guest has shut down cleanly; after that its power is cut.",
    change: "In place.",
  }),
  leaseSeconds: seconds(defaultTimeouts.lease).meta({
    description: "Until another step of the same slot ends, or a disruption lease of the pool is free.",
    change: "In place.",
  }),
  gateSeconds: seconds(defaultTimeouts.gate).meta({
    description:
      "Until every planned node of a pool is verified, not counting the soak. Also each wait around a handover: until evicted pods run elsewhere, the control plane is healthy, other slots of the pool serve, or Proxmox unlocks the VM.",
    change: "In place.",
  }),
  snapshotSeconds: seconds(defaultTimeouts.snapshot).meta({
    description: "Until an etcd snapshot is made, and uploaded when a bucket is configured.",
    change: "In place.",
  }),
});
