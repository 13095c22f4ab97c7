import assert from "node:assert/strict";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parse } from "yaml";
import { keepEncryption } from "../../cli/encryption.ts";

describe("the stack file of an old commit", () => {
  let old = "";
  let now = "";
  beforeEach(async () => {
    [old, now] = [await mkdtemp(join(tmpdir(), "eg-")), await mkdtemp(join(tmpdir(), "eg-"))];
  });
  afterEach(() => Promise.all([old, now].map((path) => rm(path, { recursive: true }))));

  const secret = (secure: string) => ({ secure });
  const cases: [string, object, object, object][] = [
    [
      "keeps its configuration and gets today's salt",
      { encryptionsalt: "s1", config: { "evergreen:cluster": "old" } },
      { encryptionsalt: "s2", config: { "evergreen:cluster": "new" } },
      { encryptionsalt: "s2", config: { "evergreen:cluster": "old" } },
    ],
    [
      "gets today's provider for its salt, and today's words for secrets that both have",
      { encryptionsalt: "s1", config: { "a:x": secret("old x"), "a:y": secret("old y"), "a:z": "plain" } },
      { secretsprovider: "awskms://k", encryptedkey: "e", config: { "a:x": secret("new x"), "a:z": secret("z") } },
      {
        config: { "a:x": secret("new x"), "a:y": secret("old y"), "a:z": "plain" },
        secretsprovider: "awskms://k",
        encryptedkey: "e",
      },
    ],
    [
      "keeps its secrets too when the encryption is the same",
      { encryptionsalt: "s", config: { "a:x": secret("old") } },
      { encryptionsalt: "s", config: { "a:x": secret("new") } },
      { encryptionsalt: "s", config: { "a:x": secret("old") } },
    ],
  ];
  for (const [title, before, today, expected] of cases) {
    it(title, async () => {
      await writeFile(join(old, "Pulumi.yaml"), "name: evergreen");
      await writeFile(join(now, "Pulumi.yaml"), "{ name: evergreen, stackConfigDir: stacks }");
      await mkdir(join(now, "stacks"));
      await writeFile(join(old, "Pulumi.prod.yaml"), JSON.stringify(before));
      await writeFile(join(now, "stacks/Pulumi.prod.yaml"), JSON.stringify(today));
      await keepEncryption(old, "prod", now);
      assert.deepEqual(parse(await readFile(join(old, "Pulumi.prod.yaml"), "utf8")), expected);
    });
  }
});
