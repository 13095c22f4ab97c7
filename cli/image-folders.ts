import { existsSync } from "node:fs";
import { readFile, writeFile } from "node:fs/promises";
import { isAbsolute, join, resolve } from "node:path";
import { isMap, parseDocument } from "yaml";
import { findStackFile } from "../src/config/stack-file.ts";
import { projectRoot } from "../src/runtime/project.ts";

/** Folders of `evergreen:images` that grow with each update, by their keys, with their defaults. */
const FOLDERS = [
  { path: ["records"], unset: "records" },
  { path: ["bakes", "evidence"], unset: "bakes" },
];

const IMAGES = ["config", "evergreen:images"];

/**
 * Has an old commit work with today's store of records: a record is written by the update that bakes an image, so the commit
 * that names the image first has none of it. Logs go beside those of today too, for the old work tree is removed.
 * @param project the work tree of the old commit
 * @param today the project's directory, which relative folders begin at
 */
export async function keepImageFolders(project: string, stack: string, today = projectRoot): Promise<void> {
  const file = join(project, await findStackFile(stack, project));
  if (!existsSync(file)) return;
  const document = parseDocument(await readFile(file, "utf8"));
  const images = document.getIn(IMAGES);
  // `pulumi config set` without --path writes a text.
  if (typeof images === "string") document.setIn(IMAGES, document.createNode(JSON.parse(images) as unknown));
  const changed = FOLDERS.filter(({ path, unset }) => {
    const owner = [...IMAGES, ...path.slice(0, -1)];
    const folder = document.getIn([...IMAGES, ...path]) ?? unset;
    if (!isMap(document.getIn(owner)) || typeof folder !== "string" || isAbsolute(folder)) return false;
    document.setIn([...IMAGES, ...path], resolve(today, folder));
    return true;
  });
  if (changed.length > 0) await writeFile(file, document.toString({ lineWidth: 0 }));
}
