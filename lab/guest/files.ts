/** A guest's file system as its agent sees it: the image, overlaid by the VM's own disk; /run is in memory. */
import { dirname } from "node:path/posix";
import { AgentError } from "../types.ts";

/** Directories that exist in every image, also without a file in them. */
const directories = [
  "/etc/evergreen",
  "/etc/rancher",
  "/home",
  "/opt",
  "/root",
  "/run",
  "/tmp",
  "/usr/local",
  "/var/lib",
  "/var/log/evergreen",
];

export class GuestFiles {
  private readonly disk: Map<string, Buffer>;
  private readonly image: ReadonlyMap<string, Buffer>;
  /** What is gone when the power is off. */
  private readonly memory = new Map<string, Buffer>();

  constructor(disk: Map<string, Buffer>, image: ReadonlyMap<string, Buffer>) {
    this.disk = disk;
    this.image = image;
  }

  get(path: string): Buffer | undefined {
    return this.place(path).get(path) ?? this.image.get(path);
  }

  text(path: string): string {
    return this.get(path)?.toString() ?? "";
  }

  /** Writes as a program of the guest does, which creates missing directories. */
  put(path: string, content: string | Buffer): void {
    this.place(path).set(path, Buffer.from(content));
  }

  /** Removes a file, or a directory with all that is below it. */
  remove(path: string): void {
    const place = this.place(path);
    for (const name of [...place.keys()]) if (name === path || name.startsWith(`${path}/`)) place.delete(name);
  }

  /** Absolute paths of all files at a path and below it, in order. */
  below(path: string): string[] {
    const all = new Set([...this.image.keys(), ...this.disk.keys(), ...this.memory.keys()]);
    return [...all].filter((name) => name === path || name.startsWith(path === "/" ? "/" : `${path}/`)).toSorted();
  }

  /** @throws AgentError in qemu-ga's words */
  agentRead(path: string): Buffer {
    const content = this.get(path);
    if (content) return content;
    if (this.isDirectory(path)) throw new AgentError("failed to read file: Is a directory");
    throw new AgentError(`failed to open file '${path}' (mode: 'r'): No such file or directory`);
  }

  /** @throws AgentError in qemu-ga's words */
  agentWrite(path: string, content: Buffer): void {
    const refuse = (why: string) => new AgentError(`failed to open file '${path}' (mode: 'wb'): ${why}`);
    if (this.isDirectory(path)) throw refuse("Is a directory");
    if (!this.isDirectory(dirname(path))) throw refuse("No such file or directory");
    if (path.startsWith("/proc/")) throw new AgentError("failed to close handle: Input/output error");
    this.put(path, content);
  }

  private isDirectory(path: string): boolean {
    const inside = path === "/" ? "/" : `${path.replace(/\/+$/, "")}/`;
    return [...directories.map((name) => `${name}/`), ...this.below("/")].some((name) => name.startsWith(inside));
  }

  private place(path: string): Map<string, Buffer> {
    return path.startsWith("/run/") ? this.memory : this.disk;
  }
}

/** A log file that keeps only its latest lines. */
export class GuestLog {
  private readonly files: GuestFiles;
  private readonly path: string;
  private readonly now: () => Date;
  private last = "";

  /** @param now the guest's clock */
  constructor(files: GuestFiles, path: string, now = () => new Date()) {
    this.files = files;
    this.path = path;
    this.now = now;
  }

  /** Logs a line unless it repeats the line before: a service that retries permanently does not fill the log. */
  say(unit: string, text: string): void {
    if (text === this.last) return;
    this.last = text;
    const line = `${this.now().toISOString()} ${unit}: ${text}\n`;
    this.files.put(this.path, (this.files.text(this.path) + line).slice(-longest));
  }
}

/** Characters of a log that are kept: less than one agent read returns. */
const longest = 60_000;
