import type { Command } from "commander";
import { diffCommand } from "./image/diff.ts";
import { listCommand } from "./image/list.ts";
import { newCommand } from "./image/new.ts";
import { pinCommand } from "./image/pin.ts";
import { showCommand } from "./image/show.ts";
import { verifyCommand } from "./image/verify.ts";

/** `evergreen image`: definitions of golden images. */
export function imageCommand(program: Command): void {
  const image = program
    .command("image")
    .description("definitions of golden images: list, show, copy, compare, check and pin them");
  for (const add of [listCommand, showCommand, newCommand, diffCommand, verifyCommand, pinCommand]) add(image);
}
