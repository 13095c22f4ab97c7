import { dirname, relative, resolve, sep } from "node:path";
import js from "@eslint/js";
import globals from "globals";
import ts from "typescript-eslint";

/** The rooms of the house and whom each may import (docs/design.md). Files at the root are the room `.`. */
const rooms = {
  ".": ["common", "components", "config", "images", "kubernetes", "proxmox", "rollout", "tools"],
  common: [],
  components: ["rollout"],
  config: ["common", "rollout"],
  images: ["common"],
  kubernetes: ["common", "images", "proxmox", "rollout"],
  lab: ["common"],
  proxmox: ["common", "rollout"],
  rollout: [],
  steps: ["common", "images", "kubernetes", "proxmox", "rollout"],
  tools: ["common"],
};

/** The room of a file: the first part of its path. */
const roomOf = (file) => {
  const [first, ...rest] = relative(import.meta.dirname, file).split(sep);
  return rest.length === 0 ? "." : first;
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
    files: ["kubernetes/**/*.ts", "proxmox/**/*.ts", "common/deadline.ts"],
    rules: {
      "no-restricted-imports": ["error", { name: "node:timers/promises", message: "use common/clock.ts" }],
      "no-restricted-globals": ["error", { name: "setTimeout", message: "use common/clock.ts" }],
      "no-restricted-properties": [
        "error",
        { object: "performance", property: "now", message: "use common/clock.ts" },
        { object: "Date", property: "now", message: "use common/clock.ts" },
        { object: "AbortSignal", property: "timeout", message: "use common/clock.ts" },
      ],
    },
  },
  {
    files: ["**/*.ts"],
    plugins: { house: { rules: { rooms: houseRule } } },
    rules: { "house/rooms": "error" },
  },
);
