import { say } from "../src/runtime/log.ts";

/** Time after which a quiet task also shows its progress, in milliseconds: a longer silence seems like a hang. */
const PATIENCE_MS = 10_000;

/** Shows what a long task does and for how long: a line that is updated in a terminal, else plain lines. */
export class Progress {
  private readonly what: string;
  private silent: boolean;
  private readonly started = performance.now();
  private timer: NodeJS.Timeout | undefined;
  private readonly live = process.stderr.isTTY;
  private detail = "";

  constructor(what: string, quiet: boolean) {
    this.what = what;
    this.silent = quiet;
    if (quiet) this.timer = setTimeout(() => this.begin(), PATIENCE_MS).unref();
    else this.begin();
  }

  /** The present detail of the task: the package that is compiled, or the process that is waited for. */
  set now(detail: string) {
    this.detail = detail === "" ? "" : `, ${detail}`;
  }

  /** Ends with a permanent line. */
  done(result: string): void {
    clearTimeout(this.timer);
    if (this.silent) return;
    if (this.live) process.stderr.write("\r\u001b[K");
    say(`${this.what}: ${result} (${this.elapsed})`);
  }

  private begin(): void {
    this.silent = false;
    if (!this.live) say(`${this.what} ...`);
    else this.draw();
    const show = this.live ? () => this.draw() : () => say(`${this.what} ... ${this.elapsed}${this.detail}`);
    this.timer = setInterval(show, this.live ? 1000 : 30_000).unref();
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
