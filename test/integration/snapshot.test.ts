import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { globSync, readFileSync } from "node:fs";
import { basename, join as joinPath } from "node:path";
import { promisify } from "node:util";
import { AwsV4Signer } from "aws4fetch";
import { Agent, request } from "undici";
import { guest } from "../../images/contract.ts";
import type { SnapshotFault } from "../../lab/types.ts";
import { readFile } from "../../src/clients/proxmox/agent.ts";
import { environmentOf, variables } from "../../src/domain/model/step-environment.ts";
import type { BackupPolicy, BucketPolicy } from "../../src/domain/backup/snapshot.ts";
import { objectUrl } from "../../src/clients/s3/bucket.ts";
import { handover } from "../../src/steps/verbs/handover.ts";
import { readSnapshotInput } from "../../src/steps/input.ts";
import { join } from "../../src/steps/verbs/join.ts";
import { snapshot, type SnapshotEvidence } from "../../src/steps/verbs/snapshot.ts";
import { toolchain } from "../../tools/index.ts";
import { stepCommand } from "./command.ts";
import { green, StepCluster } from "./cluster.ts";

const prefix = "127.82";
const onDisk: BackupPolicy = { leastBytes: 100_000, mostSeconds: 3600 };
const s3: BucketPolicy = {
  endpoint: `http://${prefix}.0.3:9000`,
  region: "us-east-1",
  bucket: "snapshots",
  prefix: "demo/etcd",
  pathStyle: true,
  checkContent: true,
  encryption: "none",
};
const inBucket: BackupPolicy = { ...onDisk, s3 };

describe("the etcd snapshot before the servers", function () {
  this.timeout(300_000);
  let cluster: StepCluster;
  let rollouts = 0;

  before(async () => {
    const tools = await toolchain({ parts: ["lab"], quiet: true });
    cluster = await StepCluster.start(prefix, { objectStore: tools.bin("versitygw") });
  });
  after(async () => {
    await cluster.stop();
  });
  afterEach(async () => {
    await cluster.lab.call("DELETE /faults", undefined);
  });

  const environment = (backup: BackupPolicy, rollout: string, seconds: number) => {
    const site = { ...cluster.site, timeouts: { ...cluster.site.timeouts, snapshot: seconds } };
    return environmentOf({ cluster: "demo", site, plan: cluster.plan("servers", 1, green), backup, rollout });
  };
  const newRollout = () => `r${(rollouts += 1)}`;
  const take = (backup: BackupPolicy, rollout = newRollout(), seconds = 20): Promise<SnapshotEvidence> =>
    snapshot(cluster.run(), readSnapshotInput(environment(backup, rollout, seconds)), { ...cluster.lab.env });
  const files = (name: string) =>
    globSync(joinPath(cluster.lab.directory, "guests", "disks", "*", "db", "snapshots", name));

  /** Why it is refused, which never shows a credential. */
  const refused = async (backup: BackupPolicy, seconds?: number): Promise<string> => {
    const problem = await take(backup, undefined, seconds).then(
      () => assert.fail("it was taken for proved"),
      (error: unknown) => (error as { problem?: { what: string } }).problem?.what ?? String(error),
    );
    assert.ok(!problem.includes(cluster.lab.env.AWS_SECRET_ACCESS_KEY ?? "?"));
    assert.match(problem, /^RequiresAttention: no etcd snapshot is proved, so no server comes or leaves: /);
    return problem.slice(problem.indexOf("leaves: ") + 8);
  };

  it("is none before there is a cluster", async () => {
    assert.deepEqual(await take(onDisk), {});
  });

  it("is a whole one on the disk of a server, and is used again by the same rollout only", async () => {
    const server = cluster.slot("servers", 0);
    await cluster.clone(server);
    await join(cluster.run(), server);
    await handover(cluster.run(), server);
    const rollout = newRollout();
    const made = await take(onDisk, rollout);
    assert.match(made.snapshot ?? "", new RegExp(`^evergreen-${rollout}-demo-servers-0-aaaaaaaa-\\d+$`));
    assert.equal(made.node, server.node);
    assert.equal(made.location, `file:///var/lib/rancher/rke2/server/db/snapshots/${made.snapshot ?? ""}`);
    const [file = ""] = files(made.snapshot ?? "");
    const content = readFileSync(file);
    assert.equal(content.length, made.bytes);
    // etcd puts the SHA-256 of the database behind it.
    const digest = createHash("sha256").update(content.subarray(0, -32)).digest("hex");
    assert.equal(content.subarray(-32).toString("hex"), digest);

    assert.deepEqual(await take(onDisk, rollout), made);
    assert.equal(files(`evergreen-${rollout}-*`).length, 1);
    assert.notEqual((await take(onDisk)).snapshot, made.snapshot);
  });

  it("lies in the bucket as it lies on the disk, by the bucket's own word", async () => {
    const rollout = newRollout();
    const made = await take(inBucket, rollout);
    const content = readFileSync(files(made.snapshot ?? "")[0] ?? "");
    assert.equal(made.location, `s3://snapshots/demo/etcd/${made.snapshot ?? ""}`);
    assert.equal(made.bytes, content.length);
    assert.equal(made.sha256, content.subarray(-32).toString("hex"));
    assert.equal(made.etag, createHash("md5").update(content).digest("hex"));
    assert.deepEqual(await take(inBucket, rollout), made);
    assert.equal(files(`evergreen-${rollout}-*`).length, 1);
  });

  it("is taken by a process that shows neither the server token nor a credential", async () => {
    const rollout = newRollout();
    const told = { ...environment(inBucket, "", 20), [variables.rollout]: JSON.stringify({ rollout }) };
    const env = { ...cluster.lab.env, ...told, PATH: process.env.PATH };
    const { stdout, stderr } = await promisify(execFile)(...stepCommand("snapshot"), { env });
    const made = JSON.parse(stdout) as SnapshotEvidence;
    assert.match(made.snapshot ?? "", new RegExp(`^evergreen-${rollout}-`));
    const [, password = ""] =
      /::server:(\w+)/.exec(
        (await readFile(cluster.pve, { host: "pve1", vmid: 1000 }, guest.serverToken)).toString(),
      ) ?? [];
    assert.ok(password.length > 10);
    for (const secret of [password, env.AWS_SECRET_ACCESS_KEY ?? ""]) assert.ok(!(stdout + stderr).includes(secret));
  });

  const faults: [SnapshotFault, BackupPolicy, RegExp][] = [
    ["empty", onDisk, /^the snapshot has 0 bytes and not the 100000 that a cluster has at least$/],
    [
      "lost-upload",
      inBucket,
      /^the bucket snapshots has no object demo\/etcd\/evergreen-r\d+-demo-servers-0-aaaaaaaa-\d+$/,
    ],
    ["spoilt-upload", inBucket, /^the object is spoilt: its content has not the checksum at its end$/],
    [
      "cut-upload",
      inBucket,
      /^the object has \d+ bytes, and the server's file has \d+; the object has \d+ bytes, and the/,
    ],
  ];
  for (const [fault, backup, why] of faults) {
    it(`is not proved when it is broken: ${fault}`, async () => {
      await cluster.lab.call("POST /faults", { kind: "snapshot", fault });
      assert.match(await refused(backup), why);
    });
  }

  it("is not proved when it never gets ready, and a broken one of the same rollout is not used again", async () => {
    const rollout = newRollout();
    await cluster.lab.call("POST /faults", { kind: "snapshot", fault: "never-ready" });
    await assert.rejects(take(onDisk, rollout, 3), /RequiresAttention: .*: the snapshot is not ready to use/);
    await cluster.lab.call("DELETE /faults", undefined);
    const made = await take(onDisk, rollout);
    assert.equal(files(`evergreen-${rollout}-*`).length, 2);
    assert.deepEqual(await take(onDisk, rollout), made);
  });

  it("is not proved when nobody answers for the bucket, or the bucket is not there", async () => {
    const nowhere = { ...s3, endpoint: `http://${prefix}.0.3:9001` };
    assert.match(
      await refused({ ...onDisk, s3: nowhere }),
      /^RKE2 makes none: 400 .*failed to initialize S3 client.*9001/,
    );
    const missing = { ...s3, bucket: "other" };
    assert.match(await refused({ ...onDisk, s3: missing }), /^RKE2 makes none: 400 .*bucket other does not exist$/);
  });

  it("is not proved when the bucket does not encrypt as it shall", async () => {
    const encrypted = { ...onDisk, s3: { ...s3, encryption: "AES256" as const } };
    assert.equal(await refused(encrypted), "the object is encrypted with nothing and not with AES256");
  });

  it("is not proved before the bucket locks it, and then names the end of the lock", async () => {
    const locked = { ...onDisk, s3: { ...s3, retentionDays: 30 } };
    const rollout = newRollout();
    await assert.rejects(take(locked, rollout), /RequiresAttention: .*: the object is not locked\n/);
    const until = new Date(Date.now() + 31 * 86_400_000).toISOString();
    const name = basename(files(`evergreen-${rollout}-*`)[0] ?? "");
    await lockUntil(name, until);
    const made = await take(locked, rollout);
    assert.equal(made.snapshot, name);
    assert.equal(Date.parse(made.retainUntil ?? ""), Math.trunc(Date.parse(until) / 1000) * 1000);
  });

  it("is made for nobody but who has the server token", async () => {
    const token = (await readFile(cluster.pve, { host: "pve1", vmid: 1000 }, guest.serverToken)).toString().trim();
    const password = token.slice(token.lastIndexOf(":") + 1);
    const ask = async (authorization: string | undefined) => {
      const dispatcher = new Agent({ connect: { rejectUnauthorized: false } });
      const headers = authorization === undefined ? {} : { authorization };
      const body = JSON.stringify({ operation: "save", name: ["stranger"] });
      const url = `https://${prefix}.0.5:9345/db/snapshot`;
      const { statusCode } = await request(url, { method: "POST", dispatcher, headers, body });
      await dispatcher.destroy();
      return statusCode;
    };
    const basic = (text: string) => `Basic ${Buffer.from(text).toString("base64")}`;
    assert.deepEqual(
      [await ask(undefined), await ask(basic("server:wrong")), await ask(basic(`node:${password}`))],
      [401, 401, 403],
    );
    assert.deepEqual(files("stranger-*"), []);
  });

  it("touches nothing but what it makes", async () => {
    assert.deepEqual((await cluster.lab.status).violations, []);
  });

  /** A rule of the bucket does it to each object; this S3 server shows only locks that were set one by one. */
  async function lockUntil(name: string, until: string): Promise<void> {
    const { AWS_ACCESS_KEY_ID: accessKeyId = "", AWS_SECRET_ACCESS_KEY: secretAccessKey = "" } = cluster.lab.env;
    const body = `<Retention xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Mode>GOVERNANCE</Mode><RetainUntilDate>${until}</RetainUntilDate></Retention>`;
    const signer = new AwsV4Signer({
      method: "PUT",
      url: `${objectUrl(s3, `${s3.prefix}/${name}`)}?retention=`,
      headers: { "content-md5": createHash("md5").update(body).digest("base64") },
      body,
      service: "s3",
      region: s3.region,
      accessKeyId,
      secretAccessKey,
    });
    const signed = await signer.sign();
    const answer = await request(signed.url, { method: "PUT", headers: Object.fromEntries(signed.headers), body });
    assert.equal(answer.statusCode, 200, await answer.body.text());
  }
});
