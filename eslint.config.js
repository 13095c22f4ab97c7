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
  examples: ["components"],
  components: ["program", "config", "domain", "runtime"],
  steps: ["evidence", "clients", "images", "domain", "runtime"],
  program: ["recovery", "observe", "evidence", "config", "clients", "domain", "runtime", "tools"],
  recovery: ["observe", "evidence", "config", "clients", "images", "domain", "runtime"],
  observe: ["evidence", "config", "clients", "domain", "runtime"],
  config: ["images", "domain", "runtime"],
  evidence: ["domain", "runtime"],
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

/** A function that sends, waits or writes is called by what it does: its name begins with one of these (CONTRIBUTING.md). */
const verbs = new Set(
  `
    admit adopt announce apply ask attempt attribute await begin boot bootstrap bring call cancel carry change check claim
    clear close commit connect convert cordon create decommission delete describe destroy download drain evacuate explain fence fetch find
    follow forecast forget free get grow guard hand head hold initialize join judge keep leave list lock look make mark mend
    migrate mint move note observe open
    patch pin plan poll post power prepare probe propose prove publish put read reconnect record refresh
    refuse relabel release relist remember remove renew repair replace report request require restore resume retain
    retire retry roll rollback run save say seal send set show shutdown sign soak start step stop stream switch sync taint take try
    turn uncordon undo unguard unlock unmark untaint use verify wait watch wipe withdraw write
  `
    .trim()
    .split(/\s+/),
);
/** Names that mean the same in every program. */
const customary = new Set(["main", "next"]);

/** Questions whose answer has to be read, and wrappers that do their work under a condition. */
const questions = new Set(["is", "has", "may", "with"]);

/** Verbs of the engine's commands, which are in the state of every stack (src/domain/model/formats.ts). */
const commands = new Set(["bake", "gate", "rollout", "handover", "snapshot", "registries"]);

const verbRule = {
  create(context) {
    const check = (id, { async, returnType }) => {
      const promises = async || context.sourceCode.getText(returnType?.typeAnnotation).startsWith("Promise<");
      if (id?.type !== "Identifier" || !promises) return;
      const [first] = id.name.split(/(?=[A-Z])/);
      if (verbs.has(first) || questions.has(first) || commands.has(id.name) || customary.has(id.name)) return;
      const message = `${id.name} has effects: begin its name with an imperative verb of those in eslint.config.js, or add one`;
      context.report({ node: id, message });
    };
    return {
      FunctionDeclaration: (node) => check(node.id, node),
      MethodDefinition: ({ key, value }) => check(key, value),
      // Functions inside of others may be called as their reader knows them.
      ":matches(Program, ExportNamedDeclaration) > VariableDeclaration > VariableDeclarator"({ id, init }) {
        if (init?.type === "ArrowFunctionExpression") check(id, init);
      },
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
    plugins: { house: { rules: { rooms: houseRule, verbs: verbRule } } },
    rules: { "house/rooms": "error" },
  },
  {
    files: ["src/**/*.ts", "components/**/*.ts", "cli/**/*.ts"],
    rules: { "house/verbs": "error" },
  },
);
