import type { WriteStream } from "node:tty";

/** Prints permanent lines, and on a terminal a block below them that is redrawn when it changes. */
export class Progress {
  private readonly out: Pick<WriteStream, "isTTY" | "columns" | "write">;
  private readonly began = performance.now();
  private drawn = 0;
  private block: readonly string[] = [];

  constructor(out: Pick<WriteStream, "isTTY" | "columns" | "write"> = process.stderr) {
    this.out = out;
  }

  /** Prints a permanent line, with the time since the start. */
  note(text: string): void {
    const time = ((performance.now() - this.began) / 1000).toFixed(1).padStart(6);
    this.erase();
    this.out.write(`${time} s  ${text}\n`);
    this.draw();
  }

  /** Replaces the block. Without a terminal no block is shown: the permanent lines are enough. */
  show(lines: readonly string[]): void {
    this.erase();
    this.block = lines;
    this.draw();
  }

  private erase(): void {
    if (this.drawn > 0) this.out.write(`\x1b[${this.drawn}A\x1b[J`);
    this.drawn = 0;
  }

  private draw(): void {
    if (!this.out.isTTY) return;
    const width = Math.max(20, this.out.columns || 80) - 1;
    // A wrapped line would count as one line and need two to be erased.
    for (const line of this.block) this.out.write(`${line.slice(0, width)}\n`);
    this.drawn = this.block.length;
  }
}
