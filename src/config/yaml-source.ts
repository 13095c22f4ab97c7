import { isAlias, isMap, isNode, isPair, isScalar, isSeq, parseDocument, visit, type Document, type Node } from "yaml";
import type { Problem } from "../runtime/errors.ts";

/** Where something stands in a text, from 1. */
export interface Place {
  line: number;
  column: number;
}

/** What makes a text no YAML that can be taken at its word. */
export interface YamlFault extends Omit<Problem, "where"> {
  place: Place;
}

/** A text of YAML, and where each of its values stands. */
export interface YamlSource {
  text: string;
  value: unknown;
  /** The place of a key. One that is not there: that of the map or list in which it is missing. */
  placeOfKey: (path: readonly PropertyKey[]) => Place;
  /** The place of a value, as above. */
  placeOfValue: (path: readonly PropertyKey[]) => Place;
}

const START: Place = { line: 1, column: 1 };

/**
 * Reads a file of YAML 1.2. What could mean something else than it says is a fault too: aliases, tags, keys that are no
 * text, and numbers that are another text than they were written as, such as 0640 or 1e5.
 */
export function readYaml(bytes: Uint8Array): YamlSource | readonly YamlFault[] {
  const text = textOf(bytes);
  if (typeof text !== "string")
    return [{ what: "the file is not UTF-8", todo: "write it as UTF-8, without binary data", place: text }];
  const placeAt = placesOf(text);
  try {
    const document = parseDocument(text, { prettyErrors: false, version: "1.2", merge: false });
    const faults = [...syntaxFaults(document, placeAt), ...ambiguousFaults(document, placeAt)];
    if (faults.length > 0) return faults;
    const root = document.contents;
    return {
      text,
      value: document.toJS({ maxAliasCount: 0 }),
      placeOfKey: (path) => placeAt(find(root, path).key),
      placeOfValue: (path) => placeAt(find(root, path).value),
    };
  } catch (error) {
    // The parser has a limit that is not among its own errors: maps in maps until the stack is full.
    const todo = `write it with fewer levels (${error instanceof Error ? error.message : String(error)})`;
    return [{ what: "the file cannot be read as YAML", todo, place: START }];
  }
}

/** The place of an offset in a text. */
export const placeIn = (text: string, offset: number): Place => placesOf(text)(offset);

/** Places in a text by their offsets. The parser's own counter leaves lines out behind some of the errors that it finds. */
function placesOf(text: string): (offset: number) => Place {
  const starts = [0, ...[...text.matchAll(/\n/g)].map(({ index }) => index + 1)];
  return (offset) => {
    const within = Math.min(offset, text.length);
    const line = starts.findLastIndex((start) => start <= within);
    return { line: line + 1, column: within - (starts[line] ?? 0) + 1 };
  };
}

/** The text of bytes of UTF-8, or the place of the first that are none. */
function textOf(bytes: Uint8Array): string | Place {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    const lossy = new TextDecoder("utf-8").decode(bytes);
    return placeIn(lossy, Math.max(0, lossy.indexOf("\uFFFD")));
  }
}

function syntaxFaults(document: Document, placeAt: (offset: number) => Place): YamlFault[] {
  return [...document.errors, ...document.warnings].map(({ message, pos }) => ({
    what: `the file cannot be read as YAML: ${message.split("\n")[0] ?? ""}`,
    todo: "correct it in this place, or right before it",
    place: placeAt(pos[0]),
  }));
}

function ambiguousFaults(document: Document, placeAt: (offset: number) => Place): YamlFault[] {
  const faults: YamlFault[] = document.directives?.yaml.explicit
    ? [
        {
          what: "the file names a version of YAML",
          todo: "remove the line with %YAML: it is read as YAML 1.2",
          place: START,
        },
      ]
    : [];
  visit(document, (_, node) => {
    const fault = ambiguityOf(node);
    if (fault !== undefined) faults.push({ ...fault, place: placeAt(startOf(isPair(node) ? node.key : node)) });
  });
  return faults;
}

/** What else a part of a document could mean than it says, or undefined. */
function ambiguityOf(node: unknown): Omit<YamlFault, "place"> | undefined {
  if (isAlias(node)) return { what: `the file has an alias (*${node.source})`, todo: "write out what it stands for" };
  if (isPair(node) && !isName(node.key))
    return {
      what: "a key of the file is no text",
      todo: 'write a name, in quotes where YAML reads it as something else, such as "1": or "true":',
    };
  if (isNode(node) && node.tag !== undefined)
    return { what: `the file has a tag of YAML: ${node.tag}`, todo: "remove it" };
  if (isScalar(node) && typeof node.value === "number" && node.source !== String(node.value))
    return {
      what: `YAML reads ${node.source ?? "this"} as the number ${node.value}`,
      todo: "write it in quotes, or as that number",
    };
  return undefined;
}

/** JavaScript has its own `__proto__`, and would lose that of the file. */
const isName = (key: unknown): boolean => isScalar(key) && typeof key.value === "string" && key.value !== "__proto__";

/** Where a node begins; a node that the parser has made up begins the text. */
function startOf(node: unknown): number {
  return (node as Partial<Node> | null)?.range?.[0] ?? 0;
}

/** The offsets of the key and the value at a path, or of the last one on the way there. */
function find(root: unknown, path: readonly PropertyKey[]): { key: number; value: number } {
  let at = { key: startOf(root), value: startOf(root) };
  let node = root;
  for (const part of path) {
    const pair = isMap(node) ? node.items.find(({ key }) => isScalar(key) && key.value === part) : undefined;
    const item = isSeq(node) ? node.items[Number(part)] : undefined;
    const next: unknown = pair?.value ?? item;
    if (pair === undefined && item === undefined) return at;
    if (isAlias(next)) return at;
    const key = startOf(pair?.key ?? item);
    at = { key, value: next === undefined || next === null ? key : startOf(next) };
    node = next;
  }
  return at;
}
