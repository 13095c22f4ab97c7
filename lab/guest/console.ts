/** A root shell on a guest with the commands of RKE2's own recipes for an unhealthy node, and no others. */
import { CommandFailed } from "./cluster-reset.ts";
import type { Reset } from "./cluster-reset.ts";
import type { GuestFiles } from "./files.ts";
import { dataPath } from "./member.ts";

/** What the commands act on. */
export interface Machinery {
  /** `systemctl stop`: the unit ends, its containers keep running. */
  stopUnit(): void;
  /** `rke2-killall.sh`: the containers end as well. */
  killAll(): Promise<void>;
  startUnit(): void;
  reset(reset: Reset): Promise<string>;
  /** Renames RKE2's data directory. */
  moveData(name: string): void;
  snapshots(): string[];
  files: GuestFiles;
  /** Variables that the shell has exported. */
  exported: Map<string, string>;
}

/**
 * Runs a command.
 * @returns the output of the command
 * @throws CommandFailed in the words of the command, also when the lab has no such command
 */
export async function runCommand(line: string, machinery: Machinery): Promise<string> {
  const words = line.trim().split(/\s+/);
  const unit = /^systemctl (stop|start|restart) rke2-(?:server|agent)$/.exec(words.join(" "))?.[1];
  if (unit === "stop" || unit === "restart") machinery.stopUnit();
  if (unit === "start" || unit === "restart") machinery.startUnit();
  if (unit !== undefined) return "";
  switch (words[0]) {
    case "rke2-killall.sh":
      await machinery.killAll();
      return "";
    case "mv":
      if (words.length !== 3 || !move(words[1] ?? "", words[2] ?? "", machinery)) break;
      return "";
    case "sed":
      if (!deleteLines(line, machinery.files)) break;
      return "";
    case "export":
      for (const word of words.slice(1)) machinery.exported.set(...assignment(word));
      return "";
    case "ls":
      if (words[1] === `${dataPath}/snapshots`) return machinery.snapshots().join("\n");
      break;
    case "cat":
      return machinery.files.text(words[1] ?? "").trim();
    case "grep":
      return machinery.files
        .text(words[2] ?? "")
        .split("\n")
        .filter((one) => new RegExp(words[1] ?? "").test(one))
        .join("\n");
    case "rke2":
      if (words[1] === "server" && words.includes("--cluster-reset")) {
        return await machinery.reset(resetOf(words, machinery.exported));
      }
      break;
  }
  throw new CommandFailed(`sh: ${line}: the lab has no such command`);
}

/** @returns false when the lab does not have the file or directory to move */
function move(from: string, to: string, machinery: Machinery): boolean {
  const { files } = machinery;
  if (from === dataPath && to.startsWith(`${dataPath}-`)) {
    machinery.moveData(to);
    return true;
  }
  const content = files.get(from);
  if (content === undefined) return false;
  files.put(to, content);
  files.remove(from);
  return true;
}

/** Runs `sed -i.SUFFIX '/PATTERN/d' PATH`. @returns false for another command, or when the file does not exist */
function deleteLines(line: string, files: GuestFiles): boolean {
  const [, suffix, pattern, path = ""] = /^sed -i(\.\S+) '\/(.+)\/d' (\S+)$/.exec(line.trim()) ?? [];
  const content = files.get(path)?.toString();
  if (suffix === undefined || pattern === undefined || content === undefined) return false;
  files.put(`${path}${suffix}`, content);
  const stays = content.split("\n").filter((one) => !new RegExp(pattern).test(one));
  files.put(path, stays.join("\n"));
  return true;
}

function assignment(word: string): [name: string, value: string] {
  const [, name, value] = /^([A-Z_]+)=(.*)$/.exec(word) ?? [];
  if (name === undefined || value === undefined) throw new CommandFailed(`sh: export: ${word}: not a valid identifier`);
  return [name, value];
}

function resetOf(words: readonly string[], exported: ReadonlyMap<string, string>): Reset {
  const s3 = (name: string) => option(words, `etcd-s3-${name}`);
  const bucket = words.includes("--etcd-s3") && {
    endpoint: s3("endpoint") ?? "s3.amazonaws.com",
    region: s3("region") ?? "us-east-1",
    bucket: s3("bucket") ?? "",
    folder: s3("folder") ?? "",
    insecure: words.includes("--etcd-s3-insecure"),
    accessKey: exported.get("AWS_ACCESS_KEY_ID") ?? "",
    secretKey: exported.get("AWS_SECRET_ACCESS_KEY") ?? "",
  };
  return {
    token: option(words, "token"),
    snapshot: option(words, "cluster-reset-restore-path"),
    bucket: bucket || undefined,
  };
}

/** `--name value` or `--name=value`. */
function option(words: readonly string[], name: string): string | undefined {
  const at = words.indexOf(`--${name}`);
  if (at >= 0) return words[at + 1];
  return words.find((word) => word.startsWith(`--${name}=`))?.slice(`--${name}=`.length);
}
