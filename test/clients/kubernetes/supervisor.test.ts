import assert from "node:assert/strict";
import https from "node:https";
import type { IncomingMessage, ServerResponse } from "node:http";
import { Deadline, DeadlineError } from "../../../src/runtime/deadline.ts";
import { saveSnapshot, type SaveOutcome } from "../../../src/clients/kubernetes/supervisor.ts";
import { redact } from "../../../src/runtime/log.ts";
import { Authority } from "../../../lab/pki.ts";

const address = "127.83.0.5";
const authority = new Authority("rke2-server-ca");
const token = { text: "server:open-sesame", password: "open-sesame" };

interface Asked {
  authorization: string | undefined;
  body: unknown;
}

/** What comes of a request to a supervisor that gives these answers, the last one again and again. */
async function save(
  answers: ((response: ServerResponse) => void)[],
  seconds: number,
  ca = authority.cert,
): Promise<{ outcome: SaveOutcome; asked: Asked[] }> {
  const asked: Asked[] = [];
  const answer = async (request: IncomingMessage, response: ServerResponse) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const { authorization } = request.headers;
    asked.push({ authorization, body: JSON.parse(Buffer.concat(chunks).toString()) });
    answers[Math.min(asked.length, answers.length) - 1]?.(response);
  };
  const credentials = authority.issue({ commonName: "rke2", usages: ["server"], names: [address] });
  const server = https.createServer(credentials, (request, response) => void answer(request, response));
  await new Promise<void>((resolve) => server.listen(9345, address, resolve));
  try {
    const deadline = new Deadline("a snapshot", seconds);
    return { outcome: await saveSnapshot({ ca }, address, token, { name: "evergreen-r1" }, deadline), asked };
  } finally {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  }
}

const status = (code: number, message: string) => (response: ServerResponse) => {
  response.writeHead(code, { "content-type": "application/json" }).end(JSON.stringify({ kind: "Status", message }));
};
const done = (response: ServerResponse) => response.end('{"created":["x"]}');

describe("a snapshot that RKE2's supervisor is asked for", function () {
  this.timeout(180_000);

  it("is asked for as the command does it, by the server token", async () => {
    const { outcome, asked } = await save([done], 5);
    assert.deepEqual(outcome, { kind: "done" });
    assert.deepEqual(asked, [
      {
        authorization: `Basic ${Buffer.from("server:open-sesame").toString("base64")}`,
        body: { operation: "save", name: ["evergreen-r1"], retention: 0, compress: false },
      },
    ]);
    assert.equal(redact(asked[0]?.authorization ?? ""), "Basic ******");
  });

  it("is asked for again while RKE2 makes another one", async () => {
    const { outcome, asked } = await save([status(500, "etcd-snapshot error ID 00042"), done], 10);
    assert.deepEqual([outcome.kind, asked.length], ["done", 2]);
  });

  it("is given up when RKE2 refuses until the end, with its number", async () => {
    const late = save([status(500, "etcd-snapshot error ID 00042")], 2);
    await assert.rejects(
      late,
      (error: unknown) => error instanceof DeadlineError && error.problem.where.endsWith("error ID 00042"),
    );
  });

  for (const [code, message] of [
    [400, "failed to initialize S3 client: bucket x does not exist"],
    [401, "Unauthorized"],
    [404, "404 page not found"],
  ] as const) {
    it(`is refused at once with ${code}`, async () => {
      const { outcome, asked } = await save([status(code, message)], 5);
      assert.deepEqual(outcome, {
        kind: "refused",
        why: `${code} to POST https://${address}:9345/db/snapshot: ${message}`,
      });
      assert.equal(asked.length, 1);
    });
  }

  it("may be there when the answer did not come, and is not asked for again", async () => {
    const { outcome, asked } = await save([(response) => response.destroy()], 5);
    assert.deepEqual([outcome.kind, asked.length], ["unknown", 1]);
  });

  it("is not asked of a stranger, who does not see the token", async () => {
    const stranger = new Authority("somebody else");
    await assert.rejects(
      save([done], 2, stranger.cert),
      (error: unknown) =>
        error instanceof DeadlineError && /no answer to POST .*\((SELF_SIGNED|UNABLE_TO|ERR_)/.test(error.message),
    );
  });
});
