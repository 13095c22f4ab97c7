import { Option } from "commander";
import { readBakeShell, shellDigests } from "../../src/runtime/bake-shell.ts";
import { digestOf, type ImageDefinition } from "../../src/domain/images/definition.ts";

/** Options of every command about images. */
export interface ImageOptions {
  /** The folder with the definitions. */
  images: string;
  json?: boolean;
}

export const imagesOption = (): Option =>
  new Option("--images <folder>", "the folder with the definitions").default("images");

export const jsonOption = (): Option => new Option("--json", "print the result as JSON");

/** Digests of images, by the definition and by what a bake of this program runs. */
export function imageDigests(): (definition: ImageDefinition) => string {
  const shell = shellDigests(readBakeShell());
  return (definition) => digestOf(definition, shell);
}

/** A digest as far as a reader compares it. */
export const short = (digest: string): string => digest.slice(0, 12);

export const printJson = (value: unknown): boolean => process.stdout.write(`${JSON.stringify(value, undefined, 2)}\n`);
