/** A data centre in which images are baked by nothing but requests with the token of bakes. */
import { createHash } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { RackGuests } from "../../../lab/guest/rack.ts";
import { fast } from "../../../lab/profiles.ts";
import { seedSite, site } from "../../../lab/proxmox/site.ts";
import type { Timing } from "../../../lab/proxmox/timing.ts";
import type { Profile } from "../../../lab/types.ts";
import { labSources, labWeb, rke2File } from "../../../lab/web.ts";
import { cidata } from "../../../src/domain/images/cidata.ts";
import type { ImageDefinition } from "../../../src/domain/images/definition.ts";
import { RECORD_DIRECTORY, type MeasuredLists } from "../../../src/domain/images/measurement.ts";
import {
  commandOf,
  filesOf,
  progressOf,
  resultOf,
  type Kind,
  type StageResult,
} from "../../../src/domain/images/stages.ts";
import { metaData, networkConfig, userData, type Bake } from "../../../src/domain/images/user-data.ts";
import { Deadline } from "../../../src/runtime/deadline.ts";
import { bakeOf } from "../../support/bake.ts";
import { Bench, type Fields } from "../proxmox/bench.ts";

const rke2 = "v1.34.10+rke2r1";
/** Address of the network card of a bake. */
export const bakeMac = "BC:24:11:00:00:01";
const serial = "20260725";

/** An artefact of the lab's release by its digest. */
export function artefact(file: string, version = rke2): { file: string; sha256: string } {
  const data = rke2File(version, file);
  if (!data) throw new Error(`the lab has no ${file}`);
  return { file, sha256: createHash("sha256").update(data).digest("hex") };
}

/** A bake of what the lab's web has. */
export function labBake(changes: Partial<ImageDefinition> = {}): Bake {
  const url = labSources.base(serial);
  const files = ["rke2.linux-amd64.tar.gz", "rke2-images-core.linux-amd64.tar.zst", "sha256sum-amd64.txt"];
  const definition: Partial<ImageDefinition> = {
    name: "lab-image",
    version: "v1.2.0",
    base: baseAt(url),
    archiveDate: "20260901T000000Z",
    packages: ["chrony-tools"],
    hold: [],
    rke2: { version: rke2, cni: [], artefacts: files.map((file) => artefact(file)) },
    sysctl: { "vm.max_map_count": "262144" },
    kernel: { parameters: [], modules: ["br_netfilter"] },
    hardening: "cis",
    ssh: false,
    services: { enable: [], mask: [] },
  };
  const { snapshots } = labSources;
  return { ...bakeOf({ ...definition, ...changes }), sources: { snapshots, rke2: labSources.rke2 } };
}

/** A bake whose agent answers before its packages are installed. */
export const bakeWithAgent = (changes: Partial<ImageDefinition> = {}): Bake =>
  labBake({ base: baseAt(labSources.baseWithAgent(serial)), ...changes });

function baseAt(url: string): ImageDefinition["base"] {
  const found = labWeb(url);
  if (typeof found !== "object") throw new Error(`the lab has no ${url}`);
  return { url, sha256: found.sha256, serial, signedBy: "0".repeat(40) };
}

export interface SeedChanges {
  userData?: string;
  instance?: string;
  mac?: string;
}

export function seedOf(bake: Bake, changes: SeedChanges = {}): Buffer {
  return Buffer.from(
    cidata({
      "user-data": changes.userData ?? userData(bake),
      "meta-data": metaData(changes.instance ?? "bake-1", "lab-image"),
      "network-config": networkConfig({ mac: changes.mac ?? bakeMac }),
    }),
  );
}

export class BakeLab {
  readonly bench: Bench;
  readonly rack: RackGuests;
  private readonly directory: string;

  private constructor(bench: Bench, rack: RackGuests, directory: string) {
    this.bench = bench;
    this.rack = rack;
    this.directory = directory;
  }

  static async start(
    port: number,
    version: "8.4" | "9.2" = "8.4",
    { profile = fast, timing = {} }: { profile?: Profile; timing?: Partial<Timing> } = {},
  ): Promise<BakeLab> {
    const directory = mkdtempSync(join(tmpdir(), "evergreen-bake-"));
    const none = "/nowhere";
    const binaries = {
      ...{ etcd: none, etcdutl: none, kubeApiserver: none },
      ...{ kubeControllerManager: none, kubeScheduler: none },
    };
    const rack = new RackGuests({ prefix: "127.104", directory, binaries, profile, web: labWeb });
    const bench = await Bench.start(port, { version, guests: rack, web: labWeb, profile, timing });
    await seedSite(bench.dc, { templates: [] });
    return new BakeLab(bench, rack, directory);
  }

  async stop(): Promise<void> {
    await this.bench.stop();
    await this.rack.close();
    rmSync(this.directory, { recursive: true });
  }

  /** A task of the token of bakes that must succeed. */
  async task(method: string, path: string, params: Fields = {}): Promise<void> {
    const upid = await this.bench.data<string>(method, path, params, site.bakeToken);
    const exit = await this.bench.ended(upid);
    if (exit !== "OK") throw new Error(`${method} ${path}: ${exit}`);
  }

  async download({ definition }: Bake): Promise<string> {
    const { url, sha256 } = definition.base;
    await this.task("POST", `nodes/pve1/storage/${site.imageStorage}/download-url`, {
      ...{ content: "import", filename: `base-${sha256.slice(0, 12)}.qcow2`, url },
      ...{ checksum: sha256, "checksum-algorithm": "sha256" },
    });
    return `${site.imageStorage}:import/base-${sha256.slice(0, 12)}.qcow2`;
  }

  async upload(vmid: number, content: Buffer): Promise<string> {
    const checksum = createHash("sha256").update(content).digest("hex");
    const fields = { content: "iso", "checksum-algorithm": "sha256", checksum };
    const path = `nodes/pve1/storage/${site.imageStorage}/upload`;
    const reply = await this.bench.upload(path, fields, { filename: `bake-${vmid}.iso`, content }, site.bakeToken);
    const exit = reply.status === 200 ? await this.bench.ended(String(reply.body?.data)) : reply.reason;
    if (exit !== "OK") throw new Error(`upload: ${exit}`);
    return `${site.imageStorage}:iso/bake-${vmid}.iso`;
  }

  /** Downloads, uploads, makes the VM and starts it. */
  async begin(vmid: number, bake: Bake, seed = seedOf(bake)): Promise<void> {
    const image = await this.download(bake);
    const cd = await this.upload(vmid, seed);
    await this.task("POST", "nodes/pve1/qemu", {
      ...{ vmid, name: `bake-${vmid}`, pool: site.templates, ostype: "l26", agent: "enabled=1", memory: 4096 },
      ...{ scsihw: "virtio-scsi-single", scsi0: `${site.storage}:0,import-from=${image}`, ide2: `${cd},media=cdrom` },
      ...{ boot: "order=scsi0", net0: `virtio=${bakeMac},bridge=${site.bridge}`, serial0: "socket" },
    });
    await this.task("PUT", `nodes/pve1/qemu/${vmid}/resize`, { disk: "scsi0", size: "10G" });
    await this.task("POST", `nodes/pve1/qemu/${vmid}/status/start`);
  }

  /** Text of a file in a guest; undefined when there is none, or when nobody answers. */
  async read(vmid: number, file: string): Promise<string | undefined> {
    const reply = await this.bench.call("GET", `nodes/pve1/qemu/${vmid}/agent/file-read`, { file }, site.bakeToken);
    return reply.status === 200 ? (reply.body?.data as { content: string }).content : undefined;
  }

  /** Waits for the end of the stages. */
  async result(vmid: number, kind: Kind): Promise<StageResult> {
    return await this.until(`the ${kind} of ${vmid}`, async () => {
      const text = await this.read(vmid, filesOf(kind).result);
      return text === undefined ? undefined : resultOf(text);
    });
  }

  async stages(vmid: number, kind: Kind): Promise<string[]> {
    return progressOf((await this.read(vmid, filesOf(kind).progress)) ?? "").map(({ stage }) => stage);
  }

  async seal(vmid: number): Promise<StageResult> {
    await this.exec(vmid, commandOf("seal"), undefined);
    return await this.result(vmid, "seal");
  }

  /** Runs a program in a guest and waits for its end. */
  async exec(
    vmid: number,
    command: readonly string[],
    input: string | undefined,
  ): Promise<{ code: number; out: string }> {
    const agent = `nodes/pve1/qemu/${vmid}/agent`;
    const params = { command: [...command], ...(input !== undefined && { "input-data": input }) };
    const { pid } = await this.bench.data<{ pid: number }>("POST", `${agent}/exec`, params, site.bakeToken);
    return await this.until(`process ${pid} of ${vmid}`, async () => {
      const status = await this.bench.data<Record<string, unknown>>(
        "GET",
        `${agent}/exec-status`,
        { pid },
        site.bakeToken,
      );
      if (status.exited !== 1) return undefined;
      return { code: Number(status.exitcode), out: typeof status["out-data"] === "string" ? status["out-data"] : "" };
    });
  }

  /** Turns the guest off, takes its CD out and makes a template of it. */
  async convert(vmid: number): Promise<void> {
    await this.task("POST", `nodes/pve1/qemu/${vmid}/status/shutdown`, { timeout: 60 });
    await this.bench.data("PUT", `nodes/pve1/qemu/${vmid}/config`, { delete: "ide2" }, site.bakeToken);
    await this.task("POST", `nodes/pve1/qemu/${vmid}/template`);
  }

  /** A linked clone that runs. @returns the SMBIOS uuid of its VM */
  async clone(template: number, newid: number): Promise<string> {
    const params = { newid, name: `clone-${newid}`, pool: site.templates, full: 0 };
    await this.task("POST", `nodes/pve1/qemu/${template}/clone`, params);
    await this.task("POST", `nodes/pve1/qemu/${newid}/status/start`);
    await this.until(`the agent of ${newid}`, async () => {
      const reply = await this.bench.call("POST", `nodes/pve1/qemu/${newid}/agent/ping`, {}, site.bakeToken);
      return reply.status === 200 ? true : undefined;
    });
    const config = await this.bench.data<{ smbios1: string }>(
      "GET",
      `nodes/pve1/qemu/${newid}/config`,
      {},
      site.bakeToken,
    );
    return config.smbios1.replace(/^uuid=/, "");
  }

  /** What a sealed guest has measured of itself. */
  async record(vmid: number): Promise<Required<MeasuredLists>> {
    const read = async (name: string) => (await this.read(vmid, `${RECORD_DIRECTORY}/${name}`)) ?? "";
    return { packages: await read("packages"), files: await read("files"), images: await read("images") };
  }

  /** What a command prints at the console of a guest; undefined when it fails. */
  async consoleRun(vmid: number, command: string): Promise<string | undefined> {
    return await this.bench.dc.vms
      .get(vmid)
      ?.power?.guest.run(command)
      .catch(() => undefined);
  }

  /** The result of stages, read at the console: the agent comes with the packages. */
  async resultAtConsole(vmid: number, kind: Kind): Promise<Extract<StageResult, { status: "failed" }>> {
    const read = () => this.consoleRun(vmid, `cat ${filesOf(kind).result}`);
    const result = resultOf(await this.until(`the ${kind} of ${vmid}`, read));
    if (result.status === "ok") throw new Error(`the ${kind} of ${vmid} has not failed`);
    return result;
  }

  /** What the serial console of a guest shows. */
  async console(vmid: number): Promise<string> {
    return (await this.consoleRun(vmid, "cat /run/console")) ?? "";
  }

  async until<T>(what: string, look: () => Promise<T | undefined>): Promise<T> {
    return await new Deadline(what, 30).poll(20, look);
  }
}
