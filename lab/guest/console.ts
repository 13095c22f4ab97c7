/** A root shell on a guest: the commands of RKE2's own recipes for a node that is ill, and no others. */
import { CommandFailed } from "./cluster-reset.ts";
import type { Reset } from "./cluster-reset.ts";
import { dataPath } from "./member.ts";

/** What the commands act on. */
export interface Machinery {
  /** `systemctl stop`: the unit ends. What its containers run goes on. */
  stopUnit(): void;
  /** `rke2-killall.sh`: the containers end, too. */
  killAll(): Promise<void>;
  startUnit(): void;
  reset(reset: Reset): Promise<string>;
  /** Gives RKE2's data another name. */
  moveData(name: string): void;
  snapshots(): string[];
  /** Lines of a file; none when there is no such file. */
  lines(path: string): string[];
}

/** @returns what the command writes. @throws CommandFailed as the command words it, also when the lab has no such command */
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
      if (words[1] !== dataPath || words[2]?.startsWith(`${dataPath}-`) !== true) break;
      machinery.moveData(words[2]);
      return "";
    case "ls":
      if (words[1] === `${dataPath}/snapshots`) return machinery.snapshots().join("\n");
      break;
    case "cat":
      return machinery
        .lines(words[1] ?? "")
        .join("\n")
        .trim();
    case "grep":
      return machinery
        .lines(words[2] ?? "")
        .filter((one) => new RegExp(words[1] ?? "").test(one))
        .join("\n");
    case "rke2":
      if (words[1] === "server" && words.includes("--cluster-reset")) return await machinery.reset(resetOf(words));
      break;
  }
  throw new CommandFailed(`sh: ${line}: the lab has no such command`);
}

function resetOf(words: readonly string[]): Reset {
  return { token: option(words, "token"), snapshot: option(words, "cluster-reset-restore-path") };
}

/** `--name value` or `--name=value`. */
function option(words: readonly string[], name: string): string | undefined {
  const at = words.indexOf(`--${name}`);
  if (at >= 0) return words[at + 1];
  return words.find((word) => word.startsWith(`--${name}=`))?.slice(`--${name}=`.length);
}
