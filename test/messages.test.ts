import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import ts from "typescript";
import { projectRoot } from "../src/runtime/project.ts";

/** What stands for a part of a message that differs from case to case. */
const GAP = "...";
/** Directories without messages for an operator. */
const silent = new Set(["node_modules", "dist", "docs", "test"]);
/** Fewer letters say nothing about which message it is. */
const LEAST_LETTERS = 7;

/** Messages without enough fixed text to be found by it, and the entry of docs/messages.md that speaks of them. */
const grouped: Readonly<Record<string, string>> = {
  [`src/steps/input.ts: ${GAP} ${GAP}`]: "EVERGREEN_... is missing",
};

interface Message {
  file: string;
  /** The fixed text, with gaps. */
  text: string;
}

function sources(): string[] {
  const entries = readdirSync(projectRoot, { recursive: false, withFileTypes: true });
  const rooms = entries.filter(
    (entry) => entry.isDirectory() && !silent.has(entry.name) && !entry.name.startsWith("."),
  );
  const inRoom = ({ name }: { name: string }) =>
    readdirSync(join(projectRoot, name), { recursive: true, encoding: "utf8" }).map((file) => join(name, file));
  const files = [...entries.filter((entry) => entry.isFile()).map(({ name }) => name), ...rooms.flatMap(inRoom)];
  return files.filter((file) => file.endsWith(".ts") && !file.includes("node_modules"));
}

/** Every text that is given as `what` of an object. */
function messagesOf(file: string): Message[] {
  const found: Message[] = [];
  const source = ts.createSourceFile(file, readFileSync(join(projectRoot, file), "utf8"), ts.ScriptTarget.Latest);
  const visit = (node: ts.Node): void => {
    if (ts.isPropertyAssignment(node) && ts.isIdentifier(node.name) && node.name.text === "what")
      found.push(...textsOf(node.initializer).map((text) => ({ file, text })));
    // add(key, what, todo)
    const [, what, todo] = ts.isCallExpression(node) && node.expression.getText(source) === "add" ? node.arguments : [];
    if (what && todo) found.push(...textsOf(what).map((text) => ({ file, text })));
    ts.forEachChild(node, visit);
  };
  visit(source);
  return found;
}

/** The fixed text of an expression: several where it chooses, none where all of it is computed. */
function textsOf(expression: ts.Expression): string[] {
  if (ts.isStringLiteralLike(expression)) return [expression.text];
  if (ts.isConditionalExpression(expression))
    return [...textsOf(expression.whenTrue), ...textsOf(expression.whenFalse)];
  if (!ts.isTemplateExpression(expression)) return [];
  return [expression.head.text + expression.templateSpans.map(({ literal }) => GAP + literal.text).join("")];
}

/** An entry of the page: its messages as code, what they mean, and what to do, each on lines of its own. */
const ENTRY = /^- ((?:`[^`]+`(?:,\s+)?)+)\\\n {2}(?!\*\*Do:)\S[^]*?\\\n {2}\*\*Do:\*\* \S/;

/** The messages that an entry explains: none when it has another form. */
const explainedBy = (entry: string): string[] =>
  [...(ENTRY.exec(entry)?.[1] ?? "").matchAll(/`([^`]+)`/g)].map(([, text = ""]) => text);

/** The headings of the sections. */
const sectionsOf = (page: string): string[] => [...page.matchAll(/^###? (.+)$/gm)].map(([, title = ""]) => title);

const letters = (text: string): number => text.replaceAll(/[^a-zA-Z]/g, "").length;

/**
 * True when all fixed parts of the entry stand in the message, in their order, and the first one begins it. An entry that
 * ends with a gap says all that is fixed: `there is no ...` is not `there is no template ...`.
 */
function covers(entry: string, { text }: Message): boolean {
  if (letters(entry) < LEAST_LETTERS) return false;
  const parts = entry.split(GAP).map((part) => part.trim());
  const words = text.replaceAll(/\s+/g, " ");
  let at = 0;
  const inOrder = parts.every((part, index) => {
    const found = words.indexOf(part, at);
    at = found + part.length;
    return index === 0 ? found === 0 : found >= 0;
  });
  return inOrder && (!entry.endsWith(GAP) || letters(words.slice(at)) === 0);
}

describe("docs/messages.md", () => {
  const page = readFileSync(join(projectRoot, "docs", "messages.md"), "utf8");
  const blocks = page.split(/^(?=- `)/m).slice(1);
  const entries = blocks.flatMap(explainedBy);
  const messages = sources().flatMap(messagesOf);

  it("is held against the messages that there are", () => {
    assert.ok(messages.length > 80, `${messages.length} messages found`);
    assert.ok(entries.length > 150, `${entries.length} entries found`);
  });

  it("says of every message what it means and what to do", () => {
    assert.deepEqual(
      blocks.filter((block) => explainedBy(block).length === 0),
      [],
    );
  });

  it("explains each message once", () => {
    assert.deepEqual(
      entries.filter((entry, i) => entries.indexOf(entry) !== i),
      [],
    );
  });

  it("leads from its top to every section, in their order", () => {
    const [top = ""] = page.split(/^## /m);
    const led = [...top.matchAll(/^ *- \[([^\]]+)\]\(#/gm)].map(([, title = ""]) => title);
    assert.deepEqual(led, sectionsOf(page));
  });

  it("explains every message of the sources", () => {
    const missing = messages.filter((message) => {
      const group = grouped[`${message.file}: ${message.text}`];
      return group === undefined ? !entries.some((entry) => covers(entry, message)) : !entries.includes(group);
    });
    assert.deepEqual(
      missing.map(({ file, text }) => `${file}: ${text}`),
      [],
    );
  });

  it("explains no message that is gone", () => {
    const groups = Object.values(grouped);
    const gone = entries.filter(
      (entry) => !groups.includes(entry) && !messages.some((message) => covers(entry, message)),
    );
    assert.deepEqual(gone, []);
  });
});
