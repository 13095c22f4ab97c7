import { ProxmoxAnswerError } from "./errors.ts";

/** An object of an answer whose fields are read strictly: an unexpected value ends the run. */
export class Row {
  private readonly value: Record<string, unknown>;
  private readonly path: string;

  constructor(value: unknown, path: string) {
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      throw new ProxmoxAnswerError(path, `${describe(value)} where an object was expected`);
    }
    this.value = value as Record<string, unknown>;
    this.path = path;
  }

  /** The objects of a list. */
  static list(value: unknown, path: string): Row[] {
    if (!Array.isArray(value)) throw new ProxmoxAnswerError(path, `${describe(value)} where a list was expected`);
    return value.map((item) => new Row(item, path));
  }

  text(name: string): string {
    const text = this.maybeText(name);
    if (text === undefined) throw new ProxmoxAnswerError(this.path, `${name} is missing`);
    return text;
  }

  maybeText(name: string): string | undefined {
    const value = this.value[name];
    if (value === undefined || value === null) return undefined;
    if (typeof value !== "string" && typeof value !== "number") {
      throw new ProxmoxAnswerError(this.path, `${name} is ${describe(value)}`);
    }
    return String(value);
  }

  /** A field that is an object itself. */
  maybeRow(name: string): Row | undefined {
    const value = this.value[name];
    return value === undefined || value === null ? undefined : new Row(value, `${this.path}, ${name}`);
  }

  /** A field that is a list of strings; an absent one is empty. */
  strings(name: string): string[] {
    const value = this.value[name] ?? [];
    if (Array.isArray(value) && value.every((item) => typeof item === "string")) return value;
    throw new ProxmoxAnswerError(this.path, `${name} is ${describe(value)}`);
  }

  /** All fields that are strings or numbers, as strings. */
  texts(): Map<string, string> {
    const plain = ([, value]: [string, unknown]) => typeof value === "string" || typeof value === "number";
    return new Map(
      Object.entries(this.value)
        .filter(plain)
        .map(([name, value]) => [name, String(value)]),
    );
  }

  number(name: string): number {
    const number = Number(this.text(name));
    if (!Number.isFinite(number)) throw new ProxmoxAnswerError(this.path, `${name} is not a number`);
    return number;
  }

  /** 1 and 0, as a number or a string; an absent field is false. */
  flag(name: string): boolean {
    const value = this.value[name];
    return value === true || value === 1 || value === "1";
  }
}

function describe(value: unknown): string {
  return value === null ? "null" : Array.isArray(value) ? "a list" : `a ${typeof value}`;
}
