/**
 * `rke2 server --cluster-reset`: a server becomes the only member of its etcd, with its own data or with the data of a
 * snapshot. RKE2 does it with etcd's own code (k3s, pkg/etcd/etcd.go: Reset, Restore), and so does the lab.
 */
import { execFile } from "node:child_process";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { promisify } from "node:util";
import { parse } from "yaml";
import { messageOf } from "../../src/runtime/errors.ts";
import { download, keyIn, requireBucket, type Destination } from "./bucket.ts";
import type { Cluster } from "./cluster.ts";
import type { GuestContext } from "./context.ts";
import { seatOf, startEtcd } from "./control-plane.ts";
import { EtcdClient } from "./etcd.ts";
import { paths } from "./join.ts";
import {
  caFile,
  dataPath,
  emptyEtcdDirectory,
  etcdDirectoryOf,
  hasData,
  nameMember,
  resetFile,
  snapshotDirectoryOf,
} from "./member.ts";
import { readToken } from "./registration.ts";
import { Scope } from "./scope.ts";

/** The options of the command line. */
export interface Reset {
  token: string | undefined;
  /** Path of a snapshot in the guest, or its name in the bucket; undefined: the server's own data is used. */
  snapshot: string | undefined;
  /** The bucket with the snapshot; undefined: the snapshot is on the server's disk. */
  bucket: Destination | undefined;
}

/** A command that ended with an error; the message is the last output of the command. */
export class CommandFailed extends Error {
  override readonly name = "CommandFailed";
}

/** RKE2's message after a reset. */
const done =
  "Managed etcd cluster membership has been reset, restart without --cluster-reset flag now. Backup and delete " +
  "${datadir}/server/db on each peer etcd server and rejoin the nodes";

/** Resets the cluster. @param node name of the server's Node. @throws CommandFailed in RKE2's words */
export async function resetCluster(guest: GuestContext, node: string, reset: Reset): Promise<string> {
  const { files } = guest;
  const { token, snapshot } = reset;
  // RKE2 checks this before anything else (k3s, pkg/cli/server/server.go; rancher/rke2#4806).
  const config = (parse(files.text(paths.fragment)) ?? {}) as { server?: string };
  if (config.server !== undefined) {
    throw new CommandFailed(
      "cannot perform cluster-reset while server URL is set - remove server from configuration before resetting",
    );
  }
  if (files.get(resetFile)) {
    throw new CommandFailed(
      "Managed etcd cluster membership was reset previously; please remove the cluster-reset flag and start rke2 " +
        `normally. If you need to perform another cluster reset, you must first manually delete ${resetFile}`,
    );
  }
  const cluster = clusterOf(guest, token);
  const name = nameMember(guest, node);
  cluster.certifyServer(guest.address, []);
  if (snapshot === undefined) await standAlone(guest, cluster, name);
  else
    await restore(guest, name, fileOf(guest, reset.bucket ? await fetched(guest, reset.bucket, snapshot) : snapshot));
  files.put(caFile, cluster.serverCa.cert);
  files.put(resetFile, "");
  return done;
}

/** The data of a cluster are encrypted with its token; those of a snapshot, with the token of the snapshot's time. */
function clusterOf({ files, rack }: GuestContext, given: string | undefined): Cluster {
  const token = readToken(given ?? files.text(paths.serverToken).trim());
  const cluster =
    [...rack.clusters.values()].find(({ serverCa }) => serverCa.cert === files.text(caFile)) ??
    rack.clusters.get(token?.caHash ?? "");
  const { credential } = token ?? {};
  if (!cluster || credential?.kind !== "password" || credential.password !== cluster.password) {
    throw new CommandFailed("bootstrap data already found and encrypted with different token");
  }
  return cluster;
}

function fileOf(guest: GuestContext, path: string): string {
  const file = join(snapshotDirectoryOf(guest), basename(path));
  if (dirname(path) === `${dataPath}/snapshots` && existsSync(file)) return file;
  throw new CommandFailed(`etcd: snapshot path does not exist: ${path}`);
}

/** Downloads a snapshot from the bucket to the disk (k3s, pkg/etcd/etcd.go: Reset). @returns its path there */
async function fetched(guest: GuestContext, bucket: Destination, name: string): Promise<string> {
  const failed = (what: string) => (error: unknown) => {
    throw new CommandFailed(`${what}: ${messageOf(error)}`);
  };
  await requireBucket(bucket).catch(failed("failed to initialize S3 client"));
  const content = await download(bucket, keyIn(bucket, name)).catch(failed("failed to download snapshot from S3"));
  const directory = snapshotDirectoryOf(guest);
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  writeFileSync(join(directory, basename(name)), content, { mode: 0o600 });
  return `${dataPath}/snapshots/${basename(name)}`;
}

async function restore(guest: GuestContext, name: string, file: string): Promise<void> {
  const peer = `https://${guest.address}:2380`;
  const flags = {
    name,
    "data-dir": emptyEtcdDirectory(guest),
    "initial-cluster": `${name}=${peer}`,
    "initial-advertise-peer-urls": peer,
  };
  const args = Object.entries(flags).map(([flag, value]) => `--${flag}=${value}`);
  await promisify(execFile)(guest.rack.binaries.etcdutl, ["snapshot", "restore", file, ...args]).catch(
    (error: unknown) => {
      throw new CommandFailed(`etcd: snapshot restore failed: ${messageOf(error)}`);
    },
  );
}

/** Starts etcd once with `--force-new-cluster`, which drops every other member. */
async function standAlone(guest: GuestContext, cluster: Cluster, name: string): Promise<void> {
  if (!hasData(guest)) throw new CommandFailed("cluster-reset: there is no etcd data on this disk");
  const scope = new Scope();
  const etcd = new EtcdClient(cluster, guest.address);
  scope.defer(() => etcd.close());
  const start = { member: name, dataDirectory: etcdDirectoryOf(guest), initialCluster: [], state: "new" } as const;
  const child = startEtcd(seatOf(guest, cluster), { ...start, alone: true });
  scope.defer(() => child.kill());
  try {
    for (let looks = 0; !(await etcd.ready()); looks += 1) {
      if (looks === 200) throw new CommandFailed(`etcd did not start: ${child.lastWords}`);
      await scope.wait(50);
    }
  } finally {
    await scope.end();
  }
}
