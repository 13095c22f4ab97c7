import { clearProps, same, type Props } from "./values.ts";

/** One input that changed. */
export interface Change {
  /** Property path: `update`, `environment.EVERGREEN_SPEC`. */
  path: string;
  kind: "add" | "delete" | "update";
  /** Whether the change replaces the resource. Only a change of `triggers` does. */
  replace: boolean;
}

/** The changes between the inputs of the last successful run and the wanted inputs. */
export function difference(oldInputs: Props, newInputs: Props): Change[] {
  const olds = flat(clearProps(oldInputs));
  const news = flat(clearProps(newInputs));
  return [...new Set([...olds.keys(), ...news.keys()])].flatMap((path): Change[] => {
    if (same(olds.get(path), news.get(path))) return [];
    const kind = !olds.has(path) ? "add" : !news.has(path) ? "delete" : "update";
    return [{ path, kind, replace: path === "triggers" }];
  });
}

/** Inputs by path. Each environment variable has its own path, so that a preview shows only the one that changed. */
function flat(inputs: Props): Map<string, unknown> {
  const paths = new Map<string, unknown>();
  for (const [key, value] of Object.entries(inputs)) {
    if (key.startsWith("__")) continue;
    if (key === "environment" && value !== null && typeof value === "object") {
      for (const [name, item] of Object.entries(value)) paths.set(`environment.${name}`, item);
    } else if (value !== null && value !== undefined) paths.set(key, value);
  }
  return paths;
}
