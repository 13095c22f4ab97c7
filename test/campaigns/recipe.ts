/** The commands of docs/recovery.md, carried out in a lab as they stand there. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { Deadline } from "../../src/runtime/deadline.ts";
import { apiReady } from "../../lab/guest/balancer.ts";
import { Kube, readKubeconfig, type KubeObject } from "../../lab/kube.ts";
import type { Site } from "../e2e/site.ts";
import { commandOf, type Words } from "../support/recovery-page.ts";

/** An operator who does what the page says, and nothing else. */
export class Recipe {
  private readonly site: Site;
  private readonly section: string;

  constructor(site: Site, section: string) {
    this.site = site;
    this.section = section;
  }

  /** At the console of a VM. @returns what it writes */
  async on(vm: string, beginning: string, words: Words = {}): Promise<string> {
    const command = commandOf(this.section, beginning, words);
    return (await this.site.lab.call("POST /faults", { kind: "console", vm, command })).said;
  }

  /** At the operator's own machine. @returns what it writes. @throws when it fails */
  async run(beginning: string, words: Words = {}): Promise<string> {
    const line = commandOf(this.section, beginning, { ...words, "--stack prod": "--stack dev" });
    const [program, tool, ...args] = line.split(/\s+/);
    if (program === "kubectl") return await this.kubectl([tool ?? "", ...args]);
    if (program === "qm") return await this.destroy(Number(args[0]));
    assert.equal(program, "npx", line);
    const given = tool === "pulumi" && args[0] === "up" ? [...args, "--yes", "--skip-preview"] : args;
    const ran = await (tool === "pulumi" ? this.site.launcher(...given) : this.site.evergreen(...given));
    assert.equal(ran.code, 0, `${line}:\n${ran.output}`);
    return ran.output;
  }

  /** Looks again and again, as one does, until it shows what the page promises. */
  async until(beginning: string, shows: RegExp, words: Words = {}): Promise<void> {
    let last = "";
    await new Deadline(`${beginning} to show ${shows.source}`, 60).poll(
      200,
      async () => {
        last = await this.run(beginning, words).catch(String);
        return shows.test(last) ? true : undefined;
      },
      () => last,
    );
  }

  /** `/readyz`, asked of one server or of the registration address. */
  private async serves(server: string): Promise<string> {
    const host = URL.canParse(server) ? new URL(server).hostname : (await this.site.lab.status).registration;
    const { cert, key } = readKubeconfig(readFileSync(this.site.lab.env.KUBECONFIG, "utf8"));
    return (await apiReady(host, { cert, key })) ? "ok" : "Error from server";
  }

  private async destroy(vm: number): Promise<string> {
    return (await this.site.lab.call("POST /faults", { kind: "delete-vm", vm })).said;
  }

  /** As much of it as the page needs. */
  private async kubectl(args: readonly string[]): Promise<string> {
    if (args[1] === "--raw") return await this.serves(args[args.indexOf("--server") + 1] ?? "");
    const kube = new Kube(readKubeconfig(readFileSync(this.site.lab.env.KUBECONFIG, "utf8")));
    try {
      const [verb, kind, name = "", ...rest] = args;
      const path = `/api/v1/nodes/${name}`;
      assert.equal(kind, "node", `kubectl ${args.join(" ")}`);
      if (verb === "delete") {
        const { status } = await kube.call("DELETE", path);
        return `node "${name}" deleted (${status})`;
      }
      if (verb === "annotate") {
        const [key = "", value] = rest[0]?.split("=") ?? [];
        const { status } = await kube.call("PATCH", path, { metadata: { annotations: { [key]: value } } });
        return `node/${name} annotated (${status})`;
      }
      assert.equal(verb, "get", `kubectl ${args.join(" ")}`);
      return shownBy(rest.at(-1) ?? "", (await kube.call<Node>("GET", path)).body);
    } finally {
      await kube.close();
    }
  }
}

interface Node extends KubeObject {
  status?: { conditions?: { type: string; status: string }[] };
}

/** `grep` in the YAML of a Node, as far as a condition or an annotation is looked for. */
function shownBy(word: string, { metadata, status }: Node): string {
  const annotations = Object.entries(metadata.annotations ?? {}).map(([key, value]) => `${key}: ${value}`);
  const conditions = (status?.conditions ?? []).map((one) => `${one.type}: ${one.status}`);
  return [...annotations, ...conditions].filter((line) => line.includes(word)).join("\n");
}
