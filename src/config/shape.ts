import { z } from "zod";
import { schema } from "./schema.ts";

/** The parts of a JSON Schema that pages and types are made of, with the metadata of the schema's keys. */
export interface Shape {
  description?: string;
  change?: string;
  unset?: string;
  values?: string;
  type?: string | string[];
  enum?: string[];
  minimum?: number;
  maximum?: number;
  minItems?: number;
  default?: unknown;
  items?: Shape;
  properties?: Record<string, Shape>;
  /** What the values of a map are whose names are free. */
  additionalProperties?: Shape | boolean;
  required?: string[];
}

/** The configuration as it is written down. */
export function configurationShape(): Shape {
  return z.toJSONSchema(schema, { io: "input", unrepresentable: "any" }) as Shape;
}

/** The default of a key, or what applies without it, in Markdown. Undefined: nothing is said of it. */
export function unsetOf({ default: value, unset, properties }: Shape): string | undefined {
  if (unset !== undefined || value === undefined) return unset;
  if (properties) return "the defaults of its keys";
  return code(typeof value === "string" && value !== "" ? value : JSON.stringify(value));
}

/** Which values a key may have, in Markdown. */
export function valuesOf(shape: Shape): string {
  const { values, type, items, minItems, properties } = shape;
  if (values !== undefined) return values;
  if (shape.enum) return shape.enum.map(code).join(", ");
  if (items) return `${minItems === undefined ? "list" : "list that is not empty"}, each: ${valuesOf(items)}`;
  switch (type) {
    case "boolean":
      return "`true` or `false`";
    case "integer":
      return `whole number${boundsOf(shape)}`;
    case "number":
      return `number${boundsOf(shape)}`;
    case "object":
      return properties ? "map" : "map of names and values";
    default:
      return "text";
  }
}

function boundsOf({ minimum, maximum = Number.MAX_SAFE_INTEGER }: Shape): string {
  if (minimum === undefined) return "";
  return maximum === Number.MAX_SAFE_INTEGER ? ` from ${minimum}` : ` from ${minimum} to ${maximum}`;
}

export const code = (value: string): string => `\`${value}\``;
