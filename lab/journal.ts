import type { LabEvent } from "./control.ts";

/** Number of events that are kept. */
const kept = 5000;

/** The events of a lab, newest last. */
export class Journal {
  private readonly events: LabEvent[] = [];
  private last = 0;

  add(kind: LabEvent["kind"], text: string): void {
    this.last += 1;
    this.events.push({ number: this.last, at: new Date().toISOString(), kind, text });
    if (this.events.length > kept) this.events.shift();
  }

  /** Events with a greater number. */
  after(number: number): LabEvent[] {
    return this.events.filter((event) => event.number > number);
  }
}
