import js from "@eslint/js";
import globals from "globals";
import ts from "typescript-eslint";

/** The rooms of the house: who may import whom (docs/design.md). */
const rooms = (files, forbidden, why) => ({
  files,
  rules: { "no-restricted-imports": ["error", { patterns: [{ group: forbidden, message: why }] }] },
});

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
  rooms(["rollout/**"], ["../*"], "rollout/ holds pure decisions: it imports nothing of ours"),
  rooms(
    [
      "common/**",
      "components/**",
      "config/**",
      "images/**",
      "kubernetes/**",
      "proxmox/**",
      "steps/**",
      ...["config", "fleet", "index", "leftovers", "live", "preflight"].map((file) => `${file}.ts`),
    ],
    ["**/lab/**", "**/test/**", "**/cli/**"],
    "the product never imports the lab",
  ),
  rooms(
    ["lab/**"],
    ["**/rollout/**", "**/components/**", "**/steps/**", "**/proxmox/client*", "**/kubernetes/**", "**/config.ts"],
    "the lab knows the product only as a user does",
  ),
);
