/**
 * What a bake downloads, served on loopback: an archive of packages with two dates and one of today, signed by a key of
 * its own, and a release of the stand-in for RKE2.
 */
import { createHash } from "node:crypto";
import { createReadStream, linkSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { createCleartextMessage, generateKey, sign, type PrivateKey } from "openpgp";
import { pack } from "tar-stream";
import type { Artefact } from "../../src/domain/images/definition.ts";
import { runTool } from "./base.ts";

/** The probe's version tells from which archive a package came. */
export const PROBE = "evergreen-probe";
export const DATES = { first: "20260301T000000Z", second: "20260601T000000Z" } as const;
const VERSIONS: Readonly<Record<string, string>> = { [DATES.first]: "1.0", [DATES.second]: "2.0", today: "3.0" };

/** The time of all that is signed: before both dates, and before any clock of a guest. */
const SIGNED = new Date("2026-02-01T00:00:00Z");

export interface Archive {
  /** Address of the folder of dates, as a guest reaches it. */
  snapshots: string;
  /** Armored key that its lists are signed with. */
  key: string;
  /** Folder of releases of the stand-in, as a guest reaches it. */
  rke2: string;
  artefacts: Artefact[];
  /** Paths that were asked for so far, and the answers' codes. */
  requests: { path: string; code: number }[];
  server: Server;
}

/** Version of the stand-in. */
export const RKE2 = "v1.34.10+rke2r1";

/** Makes and serves it all. @param packages folder with packages that every date has */
export async function serveArchive(packages: string, folder: string): Promise<Archive> {
  const { privateKey, publicKey } = await generateKey({
    userIDs: [{ name: "archive of a test" }],
    date: SIGNED,
    format: "object",
  });
  for (const date of [...Object.values(DATES), "today"])
    await makeDate(join(folder, "archive", date), packages, VERSIONS[date] ?? "", privateKey);
  const artefacts = await makeRelease(join(folder, "rke2", RKE2));
  const requests: Archive["requests"] = [];
  const server = createServer((request, response) => {
    const path = decodeURIComponent(new URL(request.url ?? "/", "http://archive").pathname);
    const file = join(folder, path);
    const isFile = statSync(file, { throwIfNoEntry: false })?.isFile() === true;
    requests.push({ path, code: isFile ? 200 : 404 });
    if (!isFile) return void response.writeHead(404).end();
    response.writeHead(200, { "content-length": statSync(file).size });
    createReadStream(file).pipe(response);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  // What QEMU's own network shows of this machine's loopback.
  const origin = `http://10.0.2.2:${(server.address() as AddressInfo).port}`;
  return {
    snapshots: `${origin}/archive`,
    rke2: `${origin}/rke2`,
    key: publicKey.armor(),
    artefacts,
    requests,
    server,
  };
}

/** An archive as it was at a date. */
async function makeDate(folder: string, packages: string, version: string, key: PrivateKey): Promise<void> {
  const lists = join(folder, "dists/trixie/main/binary-amd64");
  for (const one of [lists, join(folder, "pool")]) mkdirSync(one, { recursive: true });
  for (const file of readdirSync(packages)) linkSync(join(packages, file), join(folder, "pool", file));
  makeProbe(join(folder, "pool"), version);
  const index = runTool("sh", ["-c", `cd '${folder}' && dpkg-scanpackages --multiversion pool 2>/dev/null`]);
  writeFileSync(join(lists, "Packages"), index);
  const sum = createHash("sha256").update(index).digest("hex");
  const release = [
    "Origin: Evergreen",
    "Suite: trixie",
    "Codename: trixie",
    `Date: ${SIGNED.toUTCString().replace("GMT", "UTC")}`,
    "Architectures: amd64",
    "Components: main",
    "SHA256:",
    ` ${sum} ${Buffer.byteLength(index)} main/binary-amd64/Packages`,
    "",
  ].join("\n");
  const message = await createCleartextMessage({ text: release });
  writeFileSync(join(folder, "dists/trixie/InRelease"), await sign({ message, signingKeys: key, date: SIGNED }));
}

/** A package with one file that says its version. */
function makeProbe(folder: string, version: string): void {
  const tree = join(folder, "probe");
  mkdirSync(join(tree, "DEBIAN"), { recursive: true });
  mkdirSync(join(tree, "usr/share", PROBE), { recursive: true });
  const control = { Package: PROBE, Version: version, Architecture: "all", Maintainer: "a test <test@example.org>" };
  const fields = Object.entries({ ...control, Description: "tells where it came from" });
  writeFileSync(join(tree, "DEBIAN/control"), fields.map(([name, value]) => `${name}: ${value}\n`).join(""));
  writeFileSync(join(tree, "usr/share", PROBE, "version"), `${version}\n`);
  runTool("dpkg-deb", ["--root-owner-group", "--build", tree, join(folder, `${PROBE}_${version}_all.deb`)]);
  runTool("rm", ["-r", tree]);
}

/** A release of the stand-in: programs, container images and their list. */
async function makeRelease(folder: string): Promise<Artefact[]> {
  mkdirSync(folder, { recursive: true });
  const standIn = (name: string) => readFileSync(join(import.meta.dirname, "stand-in", name));
  const images = ["rancher/hardened-etcd:v3.5.26", "rancher/mirrored-pause:3.6"];
  const settings = "vm.panic_on_oom=0\nvm.overcommit_memory=1\nkernel.panic=10\nkernel.panic_on_oops=1\n";
  const files: Record<string, Buffer> = {
    "rke2.linux-amd64.tar.gz": await tarOf({
      "bin/rke2": standIn("rke2"),
      "bin/rke2-killall.sh": standIn("rke2-killall.sh"),
      "lib/systemd/system/rke2-server.service": standIn("rke2-server.service"),
      "lib/systemd/system/rke2-agent.service": standIn("rke2-agent.service"),
      "share/rke2/rke2-cis-sysctl.conf": Buffer.from(settings),
      "share/rke2/stand-in/containerd": standIn("containerd"),
      "share/rke2/stand-in/crictl": standIn("crictl"),
      "share/rke2/stand-in/ctr": standIn("ctr"),
    }),
    "rke2-images-core.linux-amd64.tar.gz": await tarOf({
      "manifest.json": Buffer.from(JSON.stringify([{ RepoTags: images.slice(0, 1) }, { RepoTags: images.slice(1) }])),
    }),
    "rke2-images-core.linux-amd64.txt": Buffer.from(images.map((name) => `docker.io/${name}\n`).join("")),
  };
  return Object.entries(files).map(([file, bytes]) => {
    writeFileSync(join(folder, file), bytes);
    return { file, sha256: createHash("sha256").update(bytes).digest("hex") };
  });
}

async function tarOf(files: Readonly<Record<string, Buffer>>): Promise<Buffer> {
  const archive = pack();
  for (const [name, content] of Object.entries(files)) {
    const mode = /^(bin|share\/rke2\/stand-in)\//.test(name) ? 0o755 : 0o644;
    archive.entry({ name, mode, mtime: SIGNED }, content);
  }
  archive.finalize();
  const parts: Buffer[] = [];
  for await (const part of archive) parts.push(part as Buffer);
  return gzipSync(Buffer.concat(parts));
}
