/** The private registry of the lab, and what RKE2 on a node knows of it. */
import { parse } from "yaml";
import type { GuestFiles } from "./files.ts";
import { JoinFailure } from "./registration.ts";

/** Its images are pulled with credentials only. */
export const privateRegistry = "registry.lab.test";
/** User that may pull; the password can be changed (the order `registry`). */
export const registryUser = "puller";

/** RKE2's default. */
export const usual = "/etc/rancher/rke2/registries.yaml";

interface Content {
  configs?: Record<string, { auth?: { username?: string; password?: string } } | null> | null;
}

/**
 * RKE2 of a node as its containers see it. It reads registries.yaml when it starts, and never again; unknown keys are
 * no error, and neither is a missing file. Containers outlive it.
 */
export class NodeRuntime {
  private content: Content | null = null;
  /** RKE2 does not run at the moment: the kubelet reports nothing and starts nothing. */
  isStopped = false;
  /** Called when it runs again. */
  readonly onStart = new Set<() => void>();

  /** @throws JoinFailure in RKE2's words when the file is no YAML: RKE2 does not start */
  read(files: GuestFiles, path = usual): void {
    const text = files.get(path)?.toString() ?? "";
    try {
      this.content = parse(text, { logLevel: "error" }) as Content | null;
    } catch {
      throw new JoinFailure(`failed to get private registry configuration: yaml: ${path} cannot be unmarshaled`);
    }
  }

  /** RKE2 of a node that has joined is started anew. @throws JoinFailure in RKE2's words when it does not start */
  restart(files: GuestFiles, path: string | undefined): void {
    this.isStopped = true;
    this.read(files, path);
    this.isStopped = false;
    for (const tell of this.onStart) tell();
  }

  /** Why containerd cannot pull an image; undefined: it can. @param password that the registry expects */
  refusal(image: string, password: string): string | undefined {
    if (!image.startsWith(`${privateRegistry}/`)) return undefined;
    const auth = this.content?.configs?.[privateRegistry]?.auth;
    if (auth?.username === registryUser && auth.password === password) return undefined;
    return `failed to pull and unpack image "${image}": failed to resolve reference "${image}": unexpected status from HEAD request to https://${privateRegistry}/v2/: 401 Unauthorized`;
  }
}
