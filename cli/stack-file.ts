import { isMap, isSeq, parseDocument } from "yaml";
import { SERVER_POOL, type Config } from "../src/config/config.ts";
import { UserError } from "../src/runtime/errors.ts";

/** A pool as it stands in a stack's file. */
export interface WrittenPool {
  set: (path: readonly string[], value: string) => void;
  /** Adds to a list, which it makes where there is none. */
  append: (list: string, value: string | object) => void;
}

/**
 * The text of a stack's file with changes in some pools. Comments and order stay.
 * @param file name of the file, for messages
 * @param changes what `write` does to each pool, by the pool's name
 * @throws UserError when a pool is not a map of YAML in the file
 */
export function withChanges<T>(
  { text, file }: { text: string; file: string },
  { pools }: Config,
  changes: Iterable<readonly [string, T]>,
  write: (pool: WrittenPool, change: T) => void,
): string {
  const document = parseDocument(text);
  for (const [name, change] of changes) {
    const index = pools.findIndex((pool) => pool.name === name);
    const [key, ...rest] = name === SERVER_POOL ? ["evergreen:controlPlane"] : ["evergreen:pools", index];
    const at = ["config", key, ...rest];
    if (!isMap(document.getIn(at)))
      throw new UserError({
        what: `${name} cannot be written: ${key}${rest.map((one) => `[${one}]`).join("")} is not a map of YAML`,
        where: file,
        todo: "write it as YAML and not as text, or put in by hand what was shown",
      });
    write(
      {
        set: (path, value) => document.setIn([...at, ...path], value),
        append: (list, value) => {
          const path = [...at, list];
          if (!isSeq(document.getIn(path))) document.setIn(path, document.createNode([]));
          document.addIn(path, document.createNode(value, { flow: true }));
        },
      },
      change,
    );
  }
  return document.toString({ lineWidth: 0 });
}
