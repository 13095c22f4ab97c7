import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { forgetHidden, hide, redact, say } from "../../src/runtime/log.ts";

const textOf = (name: string): string => readFileSync(`cli/${name}`, "utf8");

describe("the log", () => {
  it("prints no secret, wherever and however often it stands in a line", () => {
    hide("s3cret-value");
    assert.equal(redact("a s3cret-value, b=s3cret-value;"), "a ******, b=******;");
  });

  const texts: [string, string, string][] = [
    ["a colour", "\u001b[31mred\u001b[0m", "red"],
    ["a moved cursor", "one\u001b[2A\u001b[Jtwo", "onetwo"],
    ["a title", "\u001b]0;owned\u0007text", "text"],
    ["a link", "\u001b]8;;http://x\u001b\\text", "text"],
    ["an end of line of Windows", "one\r\ntwo", "one\ntwo"],
    ["a line that overwrites itself", "good\rbad", "good?bad"],
    ["half a sequence", "\u001b", "?"],
    ["a control of one byte", "\u009b31mred\u007f\b", "?31mred??"],
    ["tabs, lines and other letters", "\tÄ\n", "\tÄ\n"],
  ];
  for (const [what, text, shown] of texts) {
    it(`prints nothing that a terminal acts on: ${what}`, () => {
      assert.equal(redact(text), shown);
    });
  }

  it("is what every command prints through that shows what guests and nodes have said", () => {
    const direct = readdirSync("cli").filter((name) => name.endsWith(".ts") && textOf(name).includes("stdout.write"));
    assert.deepEqual(direct, ["demo.ts", "doctor.ts", "env.ts", "explain.ts", "lab.ts"]);
  });

  it("leaves a part of a secret alone: it is not the secret", () => {
    hide("whole-secret-text");
    assert.equal(redact("whole-secret"), "whole-secret");
  });

  it("masks a secret whole although another one is a part of it", () => {
    hide("inner-part");
    hide("outer-inner-part-end");
    assert.equal(redact("x outer-inner-part-end y inner-part"), "x ****** y ******");
  });

  it("ignores values that are too short to be secrets: they would mask everything", () => {
    hide("ab");
    hide("12345");
    assert.equal(redact("ab 12345"), "ab 12345");
    hide("123456");
    assert.equal(redact("123456"), "******");
  });

  it("takes characters of patterns for what they are", () => {
    hide("a.c$&+(x");
    assert.equal(redact("abc a.c$&+(x"), "abc ******");
  });

  it("forgets what was hidden", () => {
    hide("one-world's-secret");
    forgetHidden();
    assert.equal(redact("one-world's-secret"), "one-world's-secret");
  });

  it("says lines on standard error, redacted", () => {
    hide("another-secret");
    const lines: string[] = [];
    const write = process.stderr.write.bind(process.stderr);
    process.stderr.write = (text: string | Uint8Array) => lines.push(String(text)) > 0;
    try {
      say("token another-secret");
    } finally {
      process.stderr.write = write;
    }
    assert.deepEqual(lines, ["token ******\n"]);
  });
});
