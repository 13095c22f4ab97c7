/** A client of the QEMU guest agent on a unix socket. */
import { connect } from "node:net";
import { setTimeout as delay } from "node:timers/promises";

/** What a program in the guest has ended with. */
export interface Ended {
  exitCode: number;
  stdout: string;
  stderr: string;
}

export class GuestAgent {
  private readonly path: string;

  /** @param path of the socket */
  constructor(path: string) {
    this.path = path;
  }

  /**
   * Asks the agent. An old answer may still be in the channel: each conversation begins with a number of its own, and what
   * comes before the agent repeats it is dropped.
   * @throws Error also when there is no answer in time
   */
  async call(execute: string, args?: object, milliseconds = 30_000): Promise<unknown> {
    const socket = connect(this.path);
    const id = Math.floor(Math.random() * 2 ** 31);
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    const timer = setTimeout(() => reject(new Error(`no answer to ${execute} in ${milliseconds} ms`)), milliseconds);
    let pending = Buffer.alloc(0);
    let isSynced = false;
    const take = (line: Buffer): void => {
      const answer = parsed(line.subarray(line.lastIndexOf(0xff) + 1));
      if (answer === undefined) return;
      if (isSynced) {
        if (answer.error === undefined) resolve(answer.return);
        else reject(new Error(`the guest agent refuses ${execute}: ${answer.error.desc}`));
      } else if (answer.return === id) {
        isSynced = true;
        socket.write(`${JSON.stringify({ execute, arguments: args })}\n`);
      }
    };
    socket.on("error", reject);
    socket.on("close", () => reject(new Error(`the guest ended before it answered ${execute}`)));
    socket.on("connect", () => {
      const sync = JSON.stringify({ execute: "guest-sync-delimited", arguments: { id } });
      socket.write(Buffer.concat([Buffer.of(0xff), Buffer.from(`${sync}\n`)]));
    });
    socket.on("data", (chunk: Buffer) => {
      pending = Buffer.concat([pending, chunk]);
      for (let end = pending.indexOf(10); end >= 0; end = pending.indexOf(10)) {
        take(pending.subarray(0, end));
        pending = pending.subarray(end + 1);
      }
    });
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      socket.destroy();
    }
  }

  async isThere(): Promise<boolean> {
    return await this.call("guest-ping", undefined, 2000).then(
      () => true,
      () => false,
    );
  }

  /** Runs a program to its end. */
  async run(argv: readonly string[], { input = "", seconds = 600 } = {}): Promise<Ended> {
    const [path, ...arg] = argv;
    const data = input === "" ? {} : { "input-data": Buffer.from(input).toString("base64") };
    const { pid } = (await this.call("guest-exec", { path, arg, "capture-output": true, ...data })) as { pid: number };
    const end = performance.now() + seconds * 1000;
    for (let wait = 50; performance.now() < end; wait = Math.min(1000, wait * 1.5)) {
      const status = (await this.call("guest-exec-status", { pid })) as Status;
      if (status.exited) {
        if (status["out-truncated"] === true) throw new Error(`${argv.join(" ")}: the agent cut the output off`);
        const text = (base64 = "") => Buffer.from(base64, "base64").toString();
        return { exitCode: status.exitcode ?? 255, stdout: text(status["out-data"]), stderr: text(status["err-data"]) };
      }
      await delay(wait);
    }
    throw new Error(`${argv.join(" ")} still runs after ${seconds} s`);
  }

  /** The output of a script of the shell. @throws Error when it fails */
  async sh(script: string, seconds = 600): Promise<string> {
    const { exitCode, stdout, stderr } = await this.run(["/bin/sh", "-s"], { input: script, seconds });
    if (exitCode !== 0) throw new Error(`exit code ${exitCode} of: ${script}\n${stdout}${stderr}`);
    return stdout;
  }

  /** As Proxmox does it: opens the file, which empties it, writes and closes it. */
  async writeFile(path: string, content: string): Promise<void> {
    const handle = await this.call("guest-file-open", { path, mode: "wb" });
    try {
      const bytes = Buffer.from(content).toString("base64");
      if (bytes !== "") await this.call("guest-file-write", { handle, "buf-b64": bytes });
    } finally {
      await this.call("guest-file-close", { handle });
    }
  }

  /** Undefined: there is no such file. */
  async readFile(path: string): Promise<string | undefined> {
    const handle = await this.call("guest-file-open", { path, mode: "r" }).catch((error: unknown) => {
      if (String(error).includes("No such file")) return undefined;
      throw error;
    });
    if (handle === undefined) return undefined;
    const parts: Buffer[] = [];
    for (let isOver = false; !isOver;) {
      const part = (await this.call("guest-file-read", { handle, count: 1_000_000 })) as FilePart;
      parts.push(Buffer.from(part["buf-b64"], "base64"));
      isOver = part.eof || part.count === 0;
    }
    await this.call("guest-file-close", { handle });
    return Buffer.concat(parts).toString();
  }

  /** The agent does not answer when it does it. */
  async shutdown(mode: "powerdown" | "reboot"): Promise<void> {
    await this.call("guest-shutdown", { mode }, 3000).catch(() => undefined);
  }
}

interface Status {
  exited: boolean;
  exitcode?: number;
  "out-data"?: string;
  "err-data"?: string;
  "out-truncated"?: boolean;
}

interface FilePart {
  "buf-b64": string;
  count: number;
  eof: boolean;
}

function parsed(line: Buffer): { return?: unknown; error?: { desc: string } } | undefined {
  try {
    return JSON.parse(line.toString()) as { return?: unknown; error?: { desc: string } };
  } catch {
    return undefined;
  }
}
