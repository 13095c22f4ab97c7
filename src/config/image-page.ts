import { z } from "zod";
import { worded } from "./editor-schema.ts";
import { imageSchema } from "./image-schema.ts";
import { keysOf, table, type Key } from "./page.ts";
import { code } from "./shape.ts";

/*
 * docs/image-keys.md and docs/image.schema.json: every key of an image.yaml, for readers and for editors.
 */

const shape = (): object => z.toJSONSchema(imageSchema, { io: "input", unrepresentable: "any", target: "draft-7" });

/** The JSON Schema of an image.yaml as a text, with a newline at its end. */
export function imageSchemaSource(): string {
  const { $schema, ...keys } = worded(shape()) as Record<string, unknown>;
  const schema = { $schema, title: "The definition of a golden image of Evergreen", ...keys };
  return `${JSON.stringify(schema, undefined, 1)}\n`;
}

const all = (keys: readonly Key[]): Key[] => keys.flatMap((key) => [key, ...all(key.keys)]);

/** The page, from the schema. */
export function imageKeysPage(): string {
  const keys = all(keysOf(shape(), (name) => name));
  const rows = keys.map(({ path, values, unset = "", description = "" }) => [code(path), values, unset, description]);
  return `${INTRODUCTION}\n${table([["Key", "Values", "Default", "Meaning"], ...rows])}\n`;
}

const INTRODUCTION = `# The keys of image.yaml

<!-- Made by \`npm run docs\` from src/config/image-schema.ts: change the text there, and run it again. -->

All keys of a definition of an image, \`images/<name>/image.yaml\`. [Golden images](images.md) has the folder around it, the
rules that concern more than one key, and the commands. \`image.schema.json\` beside this page has an editor complete and check
them, with \`# yaml-language-server: $schema=../../docs/image.schema.json\` as first line of the file.

Whatever is changed here, in \`files/\`, \`scripts/\` or \`tests/\`, is another image: it needs another \`version\`.
`;
