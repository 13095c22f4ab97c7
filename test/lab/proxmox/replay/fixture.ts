import { readFileSync, readdirSync } from "node:fs";

/** `str`, `num`, `bool`, `nil`; an object by key; a list as one object of its rows by identity. */
export type Shape = string | { [key: string]: Shape } | [Record<string, Shape>];

/** A parameter; a long one as a text that repeats. */
export type Param = string | number | string[] | { repeat: string; times: number };

/** One request to a real Proxmox VE and its answer. */
export interface Exchange {
  /** File and number: stable, so that deviations can name it. */
  id: string;
  method: string;
  /** `{task ID}` stands for the UPID that exchange ID answered. */
  path: string;
  params?: Record<string, Param>;
  /** A file sent as multipart. */
  upload?: { filename: string; bytes: number; qcow2: boolean; field?: string; first?: boolean };
  /** Token; absent: the one that may do everything. */
  as?: string;
  status: number;
  reason: string;
  errors?: Record<string, string>;
  body?: Shape;
  /** The body was cut: what is there is right, but more was sent. */
  partial?: boolean;
  bodyless?: boolean;
  /** Exit status of the task that was started. */
  task?: string;
  /** The last lines of that task's log. */
  log?: string[];
  /** What the recorder did or meant from here on. */
  note?: string;
}

export interface Recording {
  file: string;
  version: "8.4" | "9.2";
  exchanges: Exchange[];
}

const root = new URL("../../../fixtures/proxmox/", import.meta.url);

/** The recordings of a version by file name. */
export function recordings(version: Recording["version"]): Map<string, Recording> {
  const files = readdirSync(new URL(`${version}/`, root)).sort();
  return new Map(
    files.map((name) => {
      const recording = JSON.parse(readFileSync(new URL(`${version}/${name}`, root), "utf8")) as Recording;
      return [recording.file, recording];
    }),
  );
}

function identityOf(row: unknown, index: number): string {
  if (typeof row === "object" && row !== null) {
    const found = ["id", "volid", "key", "poolid", "storage", "sid", "n", "roleid"]
      .map((key) => (row as Record<string, unknown>)[key])
      .find((value) => typeof value === "string" || typeof value === "number");
    if (found !== undefined) return String(found);
  }
  return String(index);
}

/** The shape of a body, as the recordings keep it. */
export function shapeOf(value: unknown): Shape {
  if (value === null || value === undefined) return "nil";
  if (typeof value === "string") return "str";
  if (typeof value === "number") return "num";
  if (typeof value === "boolean") return "bool";
  if (Array.isArray(value)) {
    const rows: Record<string, Shape> = {};
    value.forEach((row, index) => {
      let name = identityOf(row, index);
      while (name in rows) name += "'";
      rows[name] = shapeOf(row);
    });
    return [rows];
  }
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, shapeOf(inner)]));
}

/** Where two shapes differ, as lines. @param partial what is missing in the recording is no difference */
export function differences(recorded: Shape, ours: Shape, partial: boolean, where = ""): string[] {
  if (typeof recorded === "string" || typeof ours === "string") {
    return recorded === ours ? [] : [`${where}: recorded ${describe(recorded)}, ours ${describe(ours)}`];
  }
  if (Array.isArray(recorded) !== Array.isArray(ours)) return [`${where}: list against object`];
  const [theirs, mine] = [inside(recorded), inside(ours)];
  const missing = Object.keys(theirs).filter((key) => !(key in mine));
  const extra = partial ? [] : Object.keys(mine).filter((key) => !(key in theirs));
  return [
    ...missing.map((key) => `${where}/${key}: missing`),
    ...extra.map((key) => `${where}/${key}: not recorded`),
    ...Object.entries(theirs).flatMap(([key, inner]) => {
      const own = mine[key];
      return own === undefined ? [] : differences(inner, own, partial, `${where}/${key}`);
    }),
  ];
}

function inside(shape: Exclude<Shape, string>): Record<string, Shape> {
  return Array.isArray(shape) ? shape[0] : shape;
}

function describe(shape: Shape): string {
  return typeof shape === "string" ? shape : Array.isArray(shape) ? "list" : "object";
}
