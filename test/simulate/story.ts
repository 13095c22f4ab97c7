/** What happened in one simulation, and its violations. */
export class Story {
  readonly violations: string[] = [];
  readonly lines: string[] = [];
  private readonly told: boolean;
  private readonly elapsed: () => number;

  /** @param told keeps every line; without it only violations are kept, which is much faster */
  constructor(elapsed: () => number, told: boolean) {
    this.elapsed = elapsed;
    this.told = told;
  }

  /** @param text called only when the story is told */
  tell(who: string, text: () => string): void {
    if (this.told) this.lines.push(`${this.time()} ${who.padEnd(22)} ${mask(text())}`);
  }

  /** Records that an invariant does not hold. */
  wrong(what: string): void {
    const line = mask(what);
    this.violations.push(line);
    if (this.told) this.lines.push(`${this.time()} ${"VIOLATION".padEnd(22)} ${line}`);
  }

  private time(): string {
    return (this.elapsed() / 1000).toFixed(3).padStart(10);
  }
}

/** Masks join tokens and names of rollouts: they are truly random, and a story has to be reproducible. */
function mask(text: string): string {
  return text
    .replace(/bootstrap-token-[a-z0-9]{6}/g, "bootstrap-token-******")
    .replace(/evergreen-[0-9a-f]{12}-/g, "evergreen-************-")
    .trimEnd();
}
