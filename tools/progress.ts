import { say } from "../common/log.ts";

/** Says what a long piece of work is doing and for how long: a line that counts in a terminal, else plain lines. */
export class Progress {
  private readonly what: string;
  private readonly quiet: boolean;
  private readonly started = performance.now();
  private readonly timer: NodeJS.Timeout | undefined;
  private readonly live = process.stderr.isTTY;
  private detail = "";

  constructor(what: string, quiet: boolean) {
    this.what = what;
    this.quiet = quiet;
    if (quiet) return;
    if (this.live) this.timer = setInterval(() => this.draw(), 1000).unref();
    else {
      say(`${what} ...`);
      this.timer = setInterval(() => say(`${what} ... ${this.elapsed}${this.detail}`), 30_000).unref();
    }
    if (this.live) this.draw();
  }

  /** What it is busy with just now: the package that is compiled, the process that is waited for. */
  set now(detail: string) {
    this.detail = detail === "" ? "" : `, ${detail}`;
  }

  /** Ends with a line that stays. */
  done(result: string): void {
    clearInterval(this.timer);
    if (this.quiet) return;
    if (this.live) process.stderr.write("\r\u001b[K");
    say(`${this.what}: ${result} (${this.elapsed})`);
  }

  private get elapsed(): string {
    const seconds = Math.round((performance.now() - this.started) / 1000);
    return seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  }

  private draw(): void {
    const line = `${this.what} ... ${this.elapsed}${this.detail}`;
    process.stderr.write(`\r\u001b[K${line.slice(0, (process.stderr.columns || 80) - 1)}`);
  }
}
