import { z } from "zod";
import { schema } from "./schema.ts";

/*
 * docs/stack.schema.json: the JSON Schema of a file `Pulumi.<stack>.yaml`, with which an editor completes and checks the
 * keys of a stack. It knows the form of single values; what concerns more than one value, `pulumi preview` checks.
 */

export interface Node {
  description?: string;
  change?: string;
  unset?: string;
  values?: string;
  default?: unknown;
  properties?: Record<string, Node>;
  items?: Node;
  /** What the values of a map are whose names are free. */
  additionalProperties?: Node | boolean;
  required?: string[];
  /** What several keys refer to. */
  definitions?: Record<string, object>;
}

/** The schema as a text, with a newline at its end. */
export function stackSchemaSource(): string {
  const made = z.toJSONSchema(schema, { io: "input", unrepresentable: "any", target: "draft-7" }) as Node;
  const { properties = {}, required = [], definitions = {} } = made;
  const name = (key: string): string => `evergreen:${key}`;
  const own = Object.entries(properties).map(([key, value]) => {
    const shown = worded(value);
    return [name(key), key === "registries" ? { anyOf: [withSecrets(shown), { type: "string" }, secret] } : shown];
  });
  const stack = {
    $schema: "http://json-schema.org/draft-07/schema#",
    title: "A stack of Evergreen",
    type: "object",
    definitions,
    properties: {
      config: { type: "object", properties: Object.fromEntries(own) as object, required: required.map(name) },
    },
  };
  return `${JSON.stringify(stack, undefined, 1)}\n`;
}

/** How the engine writes a secret into the file of a stack. */
const secret = {
  type: "object",
  properties: { secure: { type: "string" } },
  required: ["secure"],
  additionalProperties: false,
};

/** A schema each of whose texts may be a secret. */
function withSecrets(shape: unknown): unknown {
  if (Array.isArray(shape)) return shape.map(withSecrets);
  if (typeof shape !== "object" || shape === null) return shape;
  const { type, propertyNames, ...rest } = shape as Record<string, unknown>;
  if (type === "string") return { anyOf: [shape, secret] };
  const inner = Object.entries(rest).map(([key, value]) => [key, withSecrets(value)]);
  return {
    ...(type === undefined ? {} : { type }),
    ...(propertyNames ? { propertyNames } : {}),
    ...(Object.fromEntries(inner) as object),
  };
}

/** The words of a key's metadata as an editor shows them: in its description. */
export function worded({ change, unset, values, properties, items, ...rest }: Node): object {
  const words = [
    rest.description,
    values === undefined ? undefined : `Values: ${values}.`,
    unset === undefined ? undefined : `Unset: ${unset}.`,
    change === undefined ? undefined : `A change of it: ${change}`,
  ].filter((one) => one !== undefined);
  return {
    ...rest,
    ...(words.length > 0 ? { description: words.join("\n\n") } : {}),
    ...(items ? { items: worded(items) } : {}),
    ...(typeof rest.additionalProperties === "object"
      ? { additionalProperties: worded(rest.additionalProperties) }
      : {}),
    ...(properties
      ? { properties: Object.fromEntries(Object.entries(properties).map(([key, one]) => [key, worded(one)])) as object }
      : {}),
  };
}
