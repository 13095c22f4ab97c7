/** Endpoints that bring files to a storage: download from a URL, and upload. */
import { createHash } from "node:crypto";
import { died, forbidden, invalid } from "../answer.ts";
import { fork } from "../call.ts";
import type { Call, Route } from "../call.ts";
import type { WebFile } from "../data-centre.ts";
import type { Storage, Volume } from "../model.ts";
import { spec } from "../params.ts";
import type { Spec, Specs } from "../params.ts";
import { mayAny, needAll } from "../permissions.ts";
import { storageOf, usedBytes } from "../storages.ts";
import { pathOf } from "../volume-names.ts";
import type { Task } from "../tasks.ts";
import { placeVolume } from "../volumes.ts";

/** The content types that can be transferred by API: snippets and backups cannot. */
const kinds = ["iso", "vztmpl", "import"] as const;

const extensions: Record<(typeof kinds)[number], RegExp> = {
  iso: /\.(iso|img)$/i,
  vztmpl: /\.tar\.(gz|xz|zst)$/i,
  import: /\.(qcow2|raw|vmdk|ova)$/i,
};

function mayReachOut({ dc, token, params }: Call): boolean {
  const onRoot = (name: string) => mayAny(dc, token, "/", [name]);
  return (
    mayAny(dc, token, `/nodes/${params.get("node") ?? ""}`, ["Sys.AccessNetwork"]) ||
    (onRoot("Sys.Audit") && onRoot("Sys.Modify"))
  );
}

function needTemplates(call: Call): void {
  needAll(call.dc, call.token, `/storage/${call.params.get("storage") ?? ""}`, ["Datastore.AllocateTemplate"]);
}

/** The volume that a transfer creates; a path is reduced to its last part. */
function target(call: Call): { storage: Storage; volid: string; filename: string; kind: Volume["content"] } {
  const kind = call.params.text("content") as (typeof kinds)[number];
  const storage = storageOf(call.dc, call.params.text("storage"));
  const filename = (call.params.text("filename").split("/").pop() ?? "").replace(/[^-a-zA-Z0-9_.+]/g, "_");
  // A name that consists of an extension only is invalid.
  if (!extensions[kind].test(filename) || filename.startsWith(".")) {
    const isIso = kind === "iso";
    throw invalid({ filename: isIso ? "wrong file extension" : "invalid filename or wrong extension" });
  }
  return { storage, volid: `${storage.id}:${kind}/${filename}`, filename, kind };
}

function formatOf(filename: string): string {
  const extension = filename.split(".").pop() ?? "raw";
  return extension === "img" ? "iso" : extension;
}

function metadata(call: Call) {
  const url = call.params.text("url");
  const found = call.dc.web(url);
  if (found === undefined) {
    const { hostname, port } = new URL(url);
    throw died(`invalid server response: '500 Can't connect to ${hostname}:${port} (Connection refused)'`);
  }
  if (typeof found === "string") throw died(`invalid server response: '${found}'`);
  const filename = new URL(url).pathname.split("/").pop() ?? "";
  return { ...(filename !== "" && { filename }), size: found.size, mimetype: found.mimetype };
}

function needChecksum(call: Call, task: Task, got: string, existing: boolean): void {
  const expected = call.params.get("checksum");
  if (expected === undefined) return;
  if (expected !== got) {
    task.say(`calculating checksum${existing ? " of existing file" : ""}...`);
    throw died(`checksum mismatch: got '${got}' != expect '${expected}'${existing ? ", aborting" : ""}`);
  }
  task.say(
    existing
      ? "calculating checksum of existing file...OK, got correct file already, no need to download"
      : "calculating checksum...OK, checksum verified",
  );
}

/** The checksum of a file by the requested algorithm. */
function known({ params }: Call, sha256: string, digests: WebFile["digests"]): string {
  const algorithm = params.get("checksum-algorithm") ?? "sha256";
  return algorithm === "sha256" ? sha256 : (digests?.[algorithm] ?? "");
}

async function fetch(call: Call, task: Task): Promise<void> {
  const { dc, params } = call;
  const { storage, volid, filename, kind } = target(call);
  if (params.has("compression"))
    throw died(kind === "import" ? "decompression not supported for import" : "no decompression method found");
  const url = params.text("url");
  const path = pathOf(storage, volid);
  task.say(`downloading ${url} to ${path}`);
  const present = storage.volumes.get(volid);
  if (present) {
    if (!params.has("checksum")) throw died(`refusing to override existing file '${path}'`);
    needChecksum(call, task, known(call, present.checksum ?? "", present.digests), true);
    return;
  }
  const found = dc.web(url);
  await task.pass(dc.profile.fullClone);
  // wget's code for a file that it cannot write.
  if (typeof found === "object" && !hasRoom(storage, found.size)) throw died("download failed: exit code 3");
  if (found === undefined) throw died("download failed: exit code 4");
  if (typeof found === "string") throw died("download failed: exit code 8");
  needChecksum(call, task, known(call, found.sha256, found.digests), false);
  if (kind === "import" && filename.endsWith(".qcow2") && found.virtualSize === undefined && !found.image) {
    const temporary = `${path}.tmp_dwnl.${task.pid}`;
    task.say(`command '/usr/bin/qemu-img info '--output=json' ${temporary} -f qcow2' failed: exit code 1`);
    throw died(`failed to verify file: qemu-img: Could not open '${temporary}': Image is not in qcow2 format`);
  }
  store(storage, volid, filename, kind, found);
  task.say(`download of '${url}' to '${path}' finished`);
}

const hasRoom = (storage: Storage, bytes: number): boolean => usedBytes(storage) + bytes <= storage.total;

/** Size of the disk in an image file; a raw disk is rounded up to a whole sector. */
function sizeOf(kind: Volume["content"], filename: string, file: WebFile): number {
  if (kind !== "import") return file.size;
  return filename.endsWith(".raw") ? Math.ceil(file.size / 512) * 512 : (file.virtualSize ?? file.size);
}

function store(storage: Storage, volid: string, filename: string, kind: Volume["content"], file: WebFile): void {
  placeVolume(storage, {
    volid,
    content: kind,
    format: formatOf(filename),
    size: sizeOf(kind, filename, file),
    used: file.size,
    image: file.image,
    checksum: file.sha256,
    digests: file.digests,
    data: file.data,
  });
}

function digest(algorithm: string | undefined, content: Buffer): string {
  return createHash(algorithm ?? "sha256")
    .update(content)
    .digest("hex");
}

function upload(call: Call): string {
  const { dc } = call;
  const { storage, volid, filename, kind } = target(call);
  checkPair(call);
  if (!storage.content.includes(kind)) throw died(`storage '${storage.id}' does not support '${kind}' content`);
  const content = call.upload?.content ?? Buffer.alloc(0);
  const sha256 = digest("sha256", content);
  const temporary = `/var/tmp/pveupload-${sha256.slice(0, 32)}`;
  return fork(call, "imgcopy", "", (task) => {
    task.say(`starting file import from: ${temporary}`);
    if (kind === "import" && filename.endsWith(".qcow2") && content.toString("latin1", 0, 4) !== "QFI\xfb") {
      task.say(`command '/usr/bin/qemu-img info '--output=json' ${temporary} -f qcow2' failed: exit code 1`);
      throw died(`qemu-img: Could not open '${temporary}': Image is not in qcow2 format`);
    }
    needChecksum(call, task, digest(call.params.get("checksum-algorithm"), content), false);
    task.say(`target node: ${call.params.text("node")}`);
    task.say(`target file: ${pathOf(storage, volid)}`);
    task.say(`file size is: ${content.length}`);
    task.say(`command: cp -- ${temporary} ${pathOf(storage, volid)}`);
    if (!hasRoom(storage, content.length)) {
      task.say(`cp: error writing '${pathOf(storage, volid)}': No space left on device`);
      throw died("import failed: exit code 1");
    }
    // The content of a known image is kept, whichever way the file was transferred.
    const same = [...dc.storages.values()]
      .flatMap((each) => [...each.volumes.values()])
      .find((each) => each.checksum === sha256);
    store(storage, volid, filename, kind, {
      size: content.length,
      mimetype: "",
      sha256,
      data: content,
      image: same?.image,
    });
    task.say("finished file import successfully");
  });
}

/** Requires a checksum and its algorithm to be given together. */
function checkPair({ params }: Call): void {
  const pair = ["checksum", "checksum-algorithm"] as const;
  for (const [name, other] of [pair, [pair[1], pair[0]]] as const) {
    if (params.has(name) && !params.has(other))
      throw invalid({ [other]: `missing property - '${name}' requires this property` });
  }
}

const url: Spec = {
  type: "string",
  required: true,
  format: (value) => (/^https?:\/\//.test(value) ? undefined : "value does not match the regex pattern"),
};

const transfer: Specs = {
  content: { type: "string", required: true, enum: kinds },
  filename: { type: "string", required: true, maxLength: 255 },
  checksum: spec.text,
  "checksum-algorithm": { type: "string", enum: ["md5", "sha1", "sha224", "sha256", "sha384", "sha512"] },
};

export const transferRoutes: Route[] = [
  {
    method: "GET",
    path: "nodes/{node}/query-url-metadata",
    allow: (call) => {
      if (!mayReachOut(call)) throw forbidden();
    },
    params: { url, "verify-certificates": spec.flag },
    run: metadata,
  },
  {
    method: "POST",
    path: "nodes/{node}/storage/{storage}/download-url",
    allow: (call) => {
      needTemplates(call);
      if (!mayReachOut(call)) throw forbidden();
    },
    params: {
      ...transfer,
      url,
      compression: spec.text,
      "verify-certificates": spec.flag,
    },
    run: (call) => {
      const { filename, storage, kind } = target(call);
      checkPair(call);
      if (!storage.content.includes(kind))
        throw died(`storage '${storage.id}' is not configured for content-type '${kind}'`);
      return fork(call, "download", filename, (task) => fetch(call, task));
    },
  },
  {
    method: "POST",
    path: "nodes/{node}/storage/{storage}/upload",
    allow: needTemplates,
    params: { ...transfer, tmpfilename: spec.text },
    run: upload,
  },
];
