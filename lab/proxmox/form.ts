/** Parameters as pveproxy reads them from a query, a form or a JSON body. */

/** Values by name; several: the parameter was a list; none: it had no value, which counts as not set. */
export type Given = Map<string, string[]>;

const text = (coded: string) => {
  try {
    return decodeURIComponent(coded.replaceAll("+", " "));
  } catch {
    return coded;
  }
};

/** Reads a form. A bare `;` separates as `&` does, and a bare `=` ends a value. */
export function fromForm(form: string): Given {
  const given: Given = new Map();
  for (const part of form.split(/[&;]/).filter(Boolean)) {
    const [name = "", value = ""] = part.split("=");
    const key = text(name);
    given.set(key, value === "" ? [] : [...(given.get(key) ?? []), text(value)]);
  }
  return given;
}

function fromValue(value: unknown): string[] {
  if (value === null) return [];
  if (typeof value === "boolean") return [value ? "1" : "0"];
  if (Array.isArray(value)) return value.flatMap(fromValue);
  return [typeof value === "string" ? value : JSON.stringify(value)];
}

/** Reads a JSON body. Here an empty text is a value. */
export function fromJson(json: string): Given {
  const parsed: unknown = JSON.parse(json);
  if (typeof parsed !== "object" || parsed === null) return new Map();
  return new Map(Object.entries(parsed).map(([name, value]) => [name, fromValue(value)]));
}
