import { resolve } from "node:path";

/** The project's directory. A bundle of this module would find another one: steps run from a bundle, and need none. */
export const projectRoot = resolve(import.meta.dirname, "..", "..");
