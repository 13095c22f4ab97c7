import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";

/**
 * Number of polls without growth after which a directory has stalled. Polls are counted instead of time, so that the
 * sleep of a suspended machine does not count.
 */
const LOOKS = 60;

/** Watches whether a directory grows, as it does during a download. */
export class Growth implements Disposable {
  private readonly timer: NodeJS.Timeout;
  private bytes: number | undefined = 0;
  private silent = 0;

  /** @param stallMs time without growth after which the directory has stalled, in milliseconds */
  constructor(directory: string, stallMs: number, tell: { grown: (bytes: number) => void; stalled: () => void }) {
    this.timer = setInterval(() => {
      const bytes = bytesIn(directory);
      if (bytes === this.bytes) this.silent += 1;
      else this.heard();
      if (bytes !== undefined && bytes !== this.bytes) tell.grown(bytes);
      this.bytes = bytes;
      if (this.silent >= LOOKS) tell.stalled();
    }, stallMs / LOOKS).unref();
  }

  /** Reports other progress, which restarts the count. */
  heard(): void {
    this.silent = 0;
  }

  [Symbol.dispose](): void {
    clearInterval(this.timer);
  }
}

/** The size of all files; undefined when files moved while they were read, which also means progress. */
function bytesIn(directory: string): number | undefined {
  try {
    const files = readdirSync(directory, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
    return files.reduce((sum, file) => sum + statSync(join(file.parentPath, file.name)).size, 0);
  } catch {
    return undefined;
  }
}
