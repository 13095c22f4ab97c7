import assert from "node:assert/strict";
import { hide, redact, say } from "../../common/log.ts";

describe("the log", () => {
  it("prints no secret, wherever and however often it stands in a line", () => {
    hide("s3cret-value");
    assert.equal(redact("a s3cret-value, b=s3cret-value;"), "a ******, b=******;");
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
