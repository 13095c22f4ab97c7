import type { Objects, Stored } from "./objects.ts";

/** The DaemonSet whose pods are never Ready. */
const broken = "broken-agent";

/** DaemonSets on every node, and their status as their controller reports it. */
export class DaemonSets {
  private readonly objects: Objects;
  readonly names = ["kube-proxy", "rke2-canal"];

  constructor(objects: Objects) {
    this.objects = objects;
    for (const name of this.names) this.make(name);
  }

  /** Deploys a DaemonSet that works nowhere. @returns a function that removes it */
  addBroken(): () => void {
    this.names.push(broken);
    this.make(broken);
    return () => {
      this.names.splice(this.names.indexOf(broken), 1);
      this.objects.remove("daemonsets", keyOf(broken));
    };
  }

  works(name: string | undefined): boolean {
    return name !== broken;
  }

  uidOf(name: string): string {
    return this.objects.get("daemonsets", keyOf(name))?.metadata.uid ?? "";
  }

  /** Counts the pods again. */
  tell(isReady: (pod: Stored) => boolean): void {
    const pods = this.objects.list("pods").filter(({ metadata }) => metadata.deletionTimestamp === undefined);
    for (const name of this.names) {
      const own = pods.filter(({ metadata }) => metadata.labels?.daemon === name);
      const status = { currentNumberScheduled: own.length, numberReady: own.filter(isReady).length };
      const found = this.objects.get("daemonsets", keyOf(name));
      if (found === undefined || JSON.stringify(found.status) === JSON.stringify(status)) continue;
      this.objects.put("daemonsets", { ...found, status });
    }
  }

  private make(name: string): void {
    const spec = { template: { spec: { tolerations: [{ operator: "Exists" }] } } };
    const status = { currentNumberScheduled: 0, numberReady: 0 };
    this.objects.put("daemonsets", { metadata: { name, namespace: "kube-system" }, spec, status });
  }
}

const keyOf = (name: string): string => `kube-system/${name}`;
