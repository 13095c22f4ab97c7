/** Endpoints of storages and their volumes. */
import { died, invalid } from "../answer.ts";
import { anyone, finished, fork, permAny } from "../call.ts";
import type { Call, Route } from "../call.ts";
import type { Storage, Volume } from "../model.ts";
import { spec, vmidSpec } from "../params.ts";
import { mayAny, needAll } from "../permissions.ts";
import { findVolume, isOn, storageOf, usedBytes } from "../storages.ts";
import { maySeeVolume, needVolume } from "../volume-access.ts";
import { parentName, parseVolumeId, pathOf, storageIdOf } from "../volume-names.ts";
import { freeVolume } from "../volumes.ts";

const seeing = ["Datastore.Audit", "Datastore.AllocateSpace"];

function statusOf(storage: Storage) {
  const used = usedBytes(storage);
  return {
    type: storage.type,
    content: storage.content.join(","),
    active: 1,
    enabled: 1,
    shared: storage.shared ? 1 : 0,
    total: storage.total,
    used,
    avail: Math.max(0, storage.total - used),
  };
}

function list({ dc, token, params }: Call) {
  return [...dc.storages.values()]
    .filter((storage) => mayAny(dc, token, `/storage/${storage.id}`, seeing))
    .filter((storage) => !params.has("storage") || storage.id === params.get("storage"))
    .filter((storage) =>
      (params.get("content") ?? "").split(",").every((kind) => kind === "" || storage.content.includes(kind)),
    )
    .map((storage) => {
      const status = statusOf(storage);
      return { storage: storage.id, ...status, used_fraction: status.used / storage.total };
    });
}

function status({ dc, params }: Call) {
  const storage = dc.storages.get(params.text("storage"));
  if (!storage) throw invalid({ storage: "No such storage." });
  return statusOf(storage);
}

function row(storage: Storage, volume: Volume) {
  const { volid, content, format, ctime } = volume;
  const common = { volid, content, format, ctime };
  // The list shows the size of an import's file; the volume's own endpoint shows the size of the disk in it.
  if (content !== "images") return { ...common, size: content === "import" ? volume.used : volume.size };
  return { ...common, size: volume.size, vmid: volume.vmid, used: volume.used, parent: parentName(storage, volume) };
}

function content(call: Call) {
  const { dc, token, params } = call;
  const storage = storageOf(dc, params.text("storage"));
  return [...storage.volumes.values()]
    .filter((volume) => !params.has("content") || volume.content === params.get("content"))
    .filter((volume) => !params.has("vmid") || volume.vmid === Number(params.get("vmid")))
    .filter((volume) => isOn(dc, storage, volume, params.text("node")) && maySeeVolume(dc, token, volume.volid))
    .map((volume) => row(storage, volume))
    .sort((a, b) => (a.volid < b.volid ? -1 : 1));
}

function volid({ params }: Call): string {
  const given = params.text("volume");
  if (!given.includes(":")) return `${params.text("storage")}:${given}`;
  const storage = storageIdOf(given);
  if (storage === params.text("storage")) return given;
  throw invalid({ volume: `storage ID mismatch (${storage} != ${params.text("storage")})\n` });
}

function volume(call: Call) {
  const { dc, token, params } = call;
  const id = volid(call);
  const storage = storageOf(dc, params.text("storage"));
  needVolume(dc, token, id);
  const found = findVolume(dc, id);
  if (!found || !isOn(dc, storage, found, params.text("node")))
    throw died(`volume_size_info on '${id}' failed - no format`);
  return { path: pathOf(storage, id), size: found.size, used: found.used, format: found.format };
}

async function remove(call: Call): Promise<string | null> {
  const { dc, token, params } = call;
  const id = volid(call);
  const storage = storageOf(dc, params.text("storage"));
  const { vmid } = parseVolumeId(storage, id);
  needAll(dc, token, `/storage/${storage.id}`, ["Datastore.Allocate"]);
  const upid = fork(call, "imgdel", vmid === undefined ? storage.id : `${vmid}@${storage.id}`, async (task) => {
    if (!findVolume(dc, id)) task.say(`disk image '${pathOf(storage, id)}' does not exist`);
    await freeVolume(dc, id, task);
    task.say(`Removed volume '${id}'`);
  });
  return call.params.has("delay") ? await finished(call, upid) : upid;
}

function contentFormat(value: string): string | undefined {
  const kinds = ["images", "rootdir", "vztmpl", "iso", "backup", "snippets", "import", "none"];
  return kinds.includes(value) ? undefined : `invalid format - invalid content type '${value}'\n`;
}

const one = "nodes/{node}/storage/{storage}";

export const storageRoutes: Route[] = [
  {
    method: "GET",
    path: "nodes/{node}/storage",
    allow: () => undefined,
    params: { storage: spec.text, content: spec.text, enabled: spec.flag, format: spec.flag, target: spec.text },
    run: list,
  },
  { method: "GET", path: `${one}/status`, allow: permAny("/storage/{storage}", ...seeing), params: {}, run: status },
  {
    method: "GET",
    path: `${one}/content`,
    allow: permAny("/storage/{storage}", ...seeing),
    params: { content: { ...spec.text, format: contentFormat }, vmid: vmidSpec },
    run: content,
  },
  {
    method: "GET",
    path: `${one}/content/{volume}`,
    allow: anyone,
    params: {},
    run: volume,
  },
  {
    method: "DELETE",
    path: `${one}/content/{volume}`,
    allow: () => undefined,
    params: { delay: spec.integer },
    run: remove,
  },
];
