import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { parseDocument, isMap, type Document } from "yaml";
import { findStackFile } from "../src/config/stack-file.ts";
import { projectRoot } from "../src/runtime/project.ts";

/** Keys of a stack's file that define how its secrets are encrypted. They are not part of its configuration. */
const settings = ["secretsprovider", "encryptedkey", "encryptionsalt"] as const;

/**
 * Puts the present encryption settings into the stack file of an old commit: the state is encrypted with them, and the
 * old passphrase or key may not exist any more. Secrets of the configuration that exist in both files get their present
 * values, because the systems that they give access to use these.
 * @param project the work tree of the old commit
 * @param today the project's directory with the present stack file
 */
export async function keepEncryption(project: string, stack: string, today = projectRoot): Promise<void> {
  const [then, present] = [
    join(project, await findStackFile(stack, project)),
    join(today, await findStackFile(stack, today)),
  ];
  if (!existsSync(then) || !existsSync(present)) return;
  const [old, now] = [parseDocument(await readFile(then, "utf8")), parseDocument(await readFile(present, "utf8"))];
  if (!reencrypt(old, now)) return;
  await writeFile(then, old.toString({ lineWidth: 0 }));
}

/** @returns whether anything was changed */
function reencrypt(old: Document, now: Document): boolean {
  if (settings.every((key) => old.get(key) === now.get(key))) return false;
  for (const key of settings) {
    if (now.has(key)) old.set(key, now.get(key));
    else old.delete(key);
  }
  const config = now.get("config");
  for (const pair of isMap(config) ? config.items : []) {
    const path = ["config", String(pair.key)];
    if (isSecret(pair.value) && isSecret(old.getIn(path))) old.setIn(path, pair.value);
  }
  return true;
}

const isSecret = (value: unknown): boolean => isMap(value) && value.has("secure");
