/** Changes values in the text of a YAML file, and nothing else of it: comments, order and spelling stay. */
import { isMap, isPair, isScalar, parseDocument, stringify, type YAMLMap } from "yaml";

/** A value at the path of its key. A key that is not there is added at the end of its map, which must be there. */
export interface NewValue {
  path: readonly string[];
  value: string;
}

/** A piece of the text, by its offsets, and what stands in its place. */
interface Edit {
  start: number;
  end: number;
  text: string;
}

/** The text with other values. Throws when a path leads to something else than a value in a map: the caller has read it. */
export function withValues(text: string, values: readonly NewValue[]): string {
  const document = parseDocument(text);
  const edits = values.map(({ path, value }): Edit => {
    const node = document.getIn(path, true);
    const written = stringify(value, { lineWidth: 0 }).trimEnd();
    if (isScalar(node) && node.range) return { start: node.range[0], end: node.range[1], text: written };
    const map = document.getIn(path.slice(0, -1), true);
    if (node !== undefined || !isMap(map) || map.range == null)
      throw new Error(`${path.join(".")} is no value of a map`);
    return addition(text, map, `${stringify(path.at(-1)).trimEnd()}: ${written}`);
  });
  // The last first, so that offsets stay right; of two at one place, in the order that was given.
  return edits
    .toReversed()
    .toSorted((a, b) => b.start - a.start)
    .reduce((changed, edit) => changed.slice(0, edit.start) + edit.text + changed.slice(edit.end), text);
}

/** Where a pair is added to a map, and in which form. */
function addition(text: string, map: YAMLMap, pair: string): Edit {
  const [start = 0, end = 0] = map.range ?? [];
  if (map.flow === true) {
    const at = end - 1;
    return { start: at, end: at, text: map.items.length > 0 ? `, ${pair}` : pair };
  }
  const last = map.items.at(-1);
  const value = isPair(last) && isScalar(last.value) ? last.value.range?.[1] : undefined;
  const lineEnd = text.indexOf("\n", value ?? end - 1);
  const at = lineEnd < 0 ? text.length : lineEnd;
  const indent = " ".repeat(start - (text.lastIndexOf("\n", start) + 1));
  return { start: at, end: at, text: `\n${indent}${pair}` };
}
