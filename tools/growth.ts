import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";

/** A directory is looked at so often before it has stalled. They are counted, so a machine that slept has waited for nothing. */
const LOOKS = 60;

/** Watches whether a directory grows, as it does while a download comes. */
export class Growth implements Disposable {
  private readonly timer: NodeJS.Timeout;
  private bytes: number | undefined = 0;
  private silent = 0;

  /** @param stallMs silence after which it has stalled, in milliseconds */
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

  /** Something else told that it goes on. */
  heard(): void {
    this.silent = 0;
  }

  [Symbol.dispose](): void {
    clearInterval(this.timer);
  }
}

/** Undefined when something moved while it was looked at: then it goes on. */
function bytesIn(directory: string): number | undefined {
  try {
    const files = readdirSync(directory, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
    return files.reduce((sum, file) => sum + statSync(join(file.parentPath, file.name)).size, 0);
  } catch {
    return undefined;
  }
}
