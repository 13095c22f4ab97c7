import { dirname, relative, resolve, sep } from "node:path";
import js from "@eslint/js";
import globals from "globals";
import ts from "typescript-eslint";

/**
 * The rooms of the house and whom each may import (docs/design.md, The house): a room is a folder at the root or one of src/.
 * Files at the root are the room `.`. The command line, and tests, may import every room.
 */
const rooms = {
  ".": ["components", "observe", "program", "recovery", "config", "clients", "domain", "runtime", "tools"],
  components: ["domain"],
  steps: ["clients", "images", "domain", "runtime"],
  program: ["recovery", "observe", "config", "clients", "domain", "runtime"],
  recovery: ["observe", "config", "clients", "images", "domain", "runtime", "tools"],
  observe: ["config", "clients", "domain", "runtime", "tools"],
  config: ["domain", "runtime", "tools"],
  clients: ["images", "domain", "runtime"],
  tools: ["runtime"],
  lab: ["runtime"],
  images: [],
  domain: [],
  runtime: ["domain"],
};

/** The room of a file: the first folder of its path, of those in src/ the second. */
const roomOf = (file) => {
  const [first, ...rest] = relative(import.meta.dirname, file).split(sep);
  if (rest.length === 0) return ".";
  return first === "src" ? rest[0] : first;
};

const houseRule = {
  create(context) {
    const from = roomOf(context.filename);
    const look = ({ source }) => {
      const name = source?.value;
      if (typeof name !== "string" || !name.startsWith(".")) return;
      const to = roomOf(resolve(dirname(context.filename), name));
      if (to === from || rooms[from]?.includes(to) !== false) return;
      context.report({ node: source, message: `${from}/ may not import ${to}/ (docs/design.md, The house)` });
    };
    return {
      ImportDeclaration: look,
      ImportExpression: look,
      ExportNamedDeclaration: look,
      ExportAllDeclaration: look,
    };
  },
};

export default ts.config(
  { ignores: ["dist/", ".evergreen/", "node_modules/"] },
  js.configs.recommended,
  {
    files: ["**/*.ts"],
    extends: [ts.configs.strictTypeChecked, ts.configs.stylisticTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true }],
      "@typescript-eslint/no-confusing-void-expression": ["error", { ignoreArrowShorthand: true }],
      "@typescript-eslint/consistent-type-definitions": "off",
    },
  },
  { files: ["**/*.mjs", "**/*.js"], languageOptions: { globals: globals.node } },
  {
    // mocha's describe() and it() return promises that nobody awaits; its `this` is how a test names its time limit.
    files: ["test/**/*.ts"],
    rules: {
      "@typescript-eslint/no-floating-promises": "off",
      "@typescript-eslint/no-unused-expressions": "off",
    },
  },
  {
    // Whatever waits, waits by the one clock: a simulation replaces it (test/simulate).
    files: ["src/clients/**/*.ts", "src/runtime/deadline.ts"],
    rules: {
      "no-restricted-imports": ["error", { name: "node:timers/promises", message: "use src/runtime/clock.ts" }],
      "no-restricted-globals": ["error", { name: "setTimeout", message: "use src/runtime/clock.ts" }],
      "no-restricted-properties": [
        "error",
        { object: "performance", property: "now", message: "use src/runtime/clock.ts" },
        { object: "Date", property: "now", message: "use src/runtime/clock.ts" },
        { object: "AbortSignal", property: "timeout", message: "use src/runtime/clock.ts" },
      ],
    },
  },
  {
    files: ["**/*.ts"],
    plugins: { house: { rules: { rooms: houseRule } } },
    rules: { "house/rooms": "error" },
  },
);
