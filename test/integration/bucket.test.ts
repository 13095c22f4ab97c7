import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import fc from "fast-check";
import { Deadline } from "../../src/runtime/deadline.ts";
import { redact } from "../../src/runtime/log.ts";
import type { BucketPolicy } from "../../src/domain/backup/snapshot.ts";
import { bucketCredentials, headSnapshot, objectUrl, readSnapshot } from "../../src/clients/s3/bucket.ts";

const s3: BucketPolicy = {
  endpoint: "https://s3.example.com:9000",
  region: "eu-central-1",
  bucket: "backups",
  prefix: "demo/etcd",
  pathStyle: false,
  checkContent: true,
  encryption: "none",
};
const credentials = bucketCredentials({ AWS_ACCESS_KEY_ID: "AKID", AWS_SECRET_ACCESS_KEY: "hush-hush" });

type Answer = (request: IncomingMessage, response: ServerResponse) => void;

/** Asks a bucket that answers as told. */
async function ask<T>(question: (...given: Parameters<typeof headSnapshot>) => Promise<T>, answer: Answer) {
  const seen: IncomingMessage[] = [];
  const server = createServer((request, response) => {
    seen.push(request);
    answer(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const policy = { ...s3, endpoint, pathStyle: true };
  const found = await question(policy, "one", credentials, new Deadline("the bucket", 10));
  await new Promise((resolve) => {
    server.close(resolve);
    server.closeAllConnections();
  });
  return { found, seen };
}

const look = (answer: Answer) => ask(headSnapshot, answer);

describe("a look into the bucket", () => {
  it("finds an object by the bucket's host, or by its path", () => {
    assert.equal(objectUrl(s3, "demo/etcd/one"), "https://backups.s3.example.com:9000/demo/etcd/one");
    assert.equal(objectUrl({ ...s3, pathStyle: true }, "one"), "https://s3.example.com:9000/backups/one");
  });

  it("reads what the bucket says of the object, and signs the question", async () => {
    const { found, seen } = await look((_, response) => {
      response.writeHead(200, {
        "content-length": "4711",
        etag: '"abc"',
        "x-amz-server-side-encryption": "aws:kms",
        "x-amz-object-lock-retain-until-date": "2026-06-03T12:00:00Z",
        "x-amz-meta-rke2-cluster-id": "c1",
        "x-amz-meta-rke2-token-hash": "t1",
      });
      response.end();
    });
    assert.deepEqual(found, {
      kind: "found",
      object: {
        bytes: 4711,
        etag: "abc",
        encryption: "aws:kms",
        retainUntil: "2026-06-03T12:00:00Z",
        clusterId: "c1",
        tokenHash: "t1",
      },
    });
    assert.equal(`${seen[0]?.method ?? ""} ${seen[0]?.url ?? ""}`, "HEAD /backups/demo/etcd/one");
    assert.match(seen[0]?.headers.authorization ?? "", /^AWS4-HMAC-SHA256 Credential=AKID\/\d{8}\/eu-central-1\/s3\//);
  });

  const failures: [number, string, number][] = [
    [404, "absent", 1],
    [403, "failed", 1],
    [301, "failed", 1],
    [503, "failed", 4],
  ];
  for (const [status, kind, asked] of failures) {
    it(`takes ${status} for ${kind}, asked ${asked} times`, async () => {
      const { found, seen } = await look((_, response) => response.writeHead(status).end());
      assert.equal(found.kind, kind);
      assert.equal(seen.length, asked);
      if (found.kind === "failed") assert.match(found.why, new RegExp(`^${status} to HEAD http://127`));
    });
  }

  it("is tried again when the connection breaks, and goes on with what comes then", async () => {
    let asked = 0;
    const { found } = await look(({ socket }, response) => {
      asked += 1;
      if (asked === 1) socket.destroy();
      else response.writeHead(404).end();
    });
    assert.deepEqual([found.kind, asked], ["absent", 2]);
  });

  it("reads an object to its end, however it comes, and holds its last 32 bytes against the rest", async () => {
    const database = Buffer.from("all that etcd knows, and a little more of it".repeat(9));
    const checksum = createHash("sha256").update(database).digest();
    const whole = Buffer.concat([database, checksum]);
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 70 }), { minLength: 1 }), async (sizes) => {
        const { found } = await ask(readSnapshot, (_, response) => {
          for (let at = 0, turn = 0; at < whole.length; turn += 1) {
            const size = sizes[turn % sizes.length] ?? 1;
            response.write(whole.subarray(at, at + size));
            at += size;
          }
          response.end();
        });
        const digits = checksum.toString("hex");
        assert.deepEqual(found, {
          kind: "read",
          content: { bytes: whole.length, claimed: digits, actual: digits },
        });
      }),
      { numRuns: 20 },
    );
  });

  it("takes an object that breaks off, is too short or is refused for what it is", async () => {
    const broken = await ask(readSnapshot, (_, response) => {
      response.writeHead(200, { "content-length": "100" }).write("half", () => response.destroy());
    });
    assert.equal(broken.found.kind, "failed");
    const short = await ask(readSnapshot, (_, response) => response.end("short"));
    assert.equal(short.found.kind === "read" && short.found.content.claimed, Buffer.from("short").toString("hex"));
    assert.notEqual(short.found.kind === "read" && short.found.content.actual, Buffer.from("short").toString("hex"));
    const denied = await ask(readSnapshot, (_, response) => response.writeHead(403).end("<Error/>"));
    assert.match(denied.found.kind === "failed" ? denied.found.why : "", /^403 to GET /);
  });

  it("names every credential that is missing, and hides those that are there", () => {
    assert.throws(() => bucketCredentials({}), /AWS_ACCESS_KEY_ID is not set[^]*AWS_SECRET_ACCESS_KEY is not set/);
    bucketCredentials({
      AWS_ACCESS_KEY_ID: "a",
      AWS_SECRET_ACCESS_KEY: "quite-secret",
      AWS_SESSION_TOKEN: "session-x",
    });
    assert.equal(redact("quite-secret session-x hush-hush"), "****** ****** ******");
  });
});
