import { SERVER_POOL } from "../../src/config/config.ts";
import type { Vm } from "./data-centre.ts";
import type { EtcdWatcher } from "./etcd-watcher.ts";
import type { Stored } from "./objects.ts";
import type { Process } from "./process.ts";
import type { Story } from "./story.ts";
import type { Truth } from "./truth.ts";

/**
 * Watches what a destroy does to nodes: it takes them as they are, without leases and with pods on them, but no agent before
 * the cluster says that it goes away, and no server before the VM of every one does. Once the first is off, nothing else
 * could say so.
 */
export class TeardownWatcher {
  private readonly story: Story;
  private readonly truth: Truth;
  private readonly etcd: EtcdWatcher;

  constructor(story: Story, truth: Truth, etcd: EtcdWatcher) {
    this.story = story;
    this.truth = truth;
    this.etcd = etcd;
  }

  /** Whether a process may take a node's VM as it is, because its engine destroys the cluster. */
  takes({ name }: Pick<Vm, "name">, by: Process): boolean {
    if (!by.isOfDestroy) return false;
    const servers = this.truth.vmsOf(SERVER_POOL);
    const isMarked = hasMark(this.truth.cluster?.objects.get("configmaps", "evergreen-system/cluster"));
    // The cluster itself says it for as long as its servers run.
    if (isMarked && !servers.some((server) => server.name === name)) return true;
    const silent = servers.filter(({ notes }) => !notes.includes("is being destroyed"));
    if (silent.length > 0)
      this.story.wrong(
        `${by.name} takes ${name} away while ${silent.map((vm) => vm.name).join(", ")} does not say that the cluster goes away`,
      );
    this.etcd.isOff = true;
    return true;
  }
}

/** Whether the ConfigMap of a cluster marks it as going away. */
export const hasMark = (map: Stored | undefined): boolean =>
  (map?.data as Record<string, string> | undefined)?.goingAway !== undefined;
