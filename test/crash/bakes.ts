/** The images that a stack under test bakes itself, one for each trial, and the watcher of their bakes. */
import { mkdir, readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { stringify, parse } from "yaml";
import { site as places } from "../../lab/proxmox/site.ts";
import { labSources, labWeb } from "../../lab/web.ts";
import { identityOf, notedRecord } from "../../src/domain/images/template-identity.ts";
import { readRecord } from "../../src/evidence/image-records.ts";
import { imageYaml, LAB_RKE2 } from "../e2e/lab-image.ts";
import type { Changes, Site } from "../e2e/site.ts";
import { keyPair } from "../evidence/image.ts";
import { Operator } from "../lab/support/operator.ts";
import { violationsAfter, violationsNow, type BakeFacts, type LeftFacts } from "./bake-rules.ts";

const range = { first: 9500, last: 9599 };
/** A VM and a CD within the reach of bakes, which are of nobody's bake. */
const STRANGER = 9590;
const STRANGE_CD = `evergreen-bake-${STRANGER}-0123456789abcdef.iso`;
const PROOF = 9599;
/** Templates are made at these VMIDs in turn: the last one has nodes until the roll is over, also when a bake failed meanwhile. */
const VMIDS = [9500, 9501, 9502];

const content = (storage: string): string => `nodes/${places.node}/storage/${storage}/content`;

interface Volume {
  volid: string;
  content: string;
  vmid?: number;
}

export class Bakes {
  private readonly site: Site;
  private readonly baker: Operator;
  private readonly key = keyPair();
  private count = 0;
  private earlier = new Set<string>();
  private others: BakeFacts["others"] = new Map();

  private constructor(site: Site, baker: Operator) {
    this.site = site;
    this.baker = baker;
  }

  /** Puts a VM and a CD of somebody else beside the bakes. */
  static async start(site: Site): Promise<Bakes> {
    const { EVERGREEN_BAKE_API_TOKEN: token = "", ...env } = site.lab.env;
    const bakes = new Bakes(site, new Operator({ env: { ...env, PROXMOX_VE_API_TOKEN: token } }));
    const { baker } = bakes;
    const vm = { vmid: String(STRANGER), name: "theirs", pool: places.templates, scsi0: `${places.storage}:1` };
    await baker.pve("POST", `nodes/${places.node}/qemu`, vm);
    await baker.upload(places.imageStorage, { content: "iso" }, STRANGE_CD, Buffer.from("theirs"));
    return bakes;
  }

  async close(): Promise<void> {
    await this.baker.close();
  }

  /** What an update needs beside the lab's environment. */
  get environment(): NodeJS.ProcessEnv {
    return { EVERGREEN_IMAGE_KEY: this.key.privateKey };
  }

  get image(): string {
    return `lab-image-v1.${this.count}.0`;
  }

  private get vmid(): number {
    return VMIDS[this.count % VMIDS.length] ?? 0;
  }

  /** Defines another image, of a base image that is not there yet. @returns what the configuration says of it */
  async next(): Promise<Changes> {
    this.count += 1;
    await this.removeOlder();
    await rm(join(this.site.project, "bakes"), { recursive: true, force: true });
    const folder = join(this.site.project, "images", this.image);
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, "image.yaml"), this.definition());
    this.earlier = new Set((await this.tasks()).map(({ upid }) => upid));
    this.others = await this.readOthers();
    return {
      "pools.0.image": this.image,
      "pools.0.diskGiB": 12,
      images: {
        keys: [{ name: "site", publicKey: this.key.publicKey, from: "2026-01-01" }],
        bakes: {
          images: [{ image: this.image, vmid: this.vmid, proofVmid: PROOF }],
          range,
          place: { host: places.node, imageStorage: places.imageStorage },
          sources: { snapshots: labSources.snapshots, rke2: labSources.rke2 },
        },
      },
    };
  }

  private definition(): string {
    const given = parse(imageYaml(`v1.${this.count}.0`, [], LAB_RKE2)) as { base: object };
    const url = labSources.base(`20260725.${this.count}`);
    const found = labWeb(url);
    if (typeof found !== "object") throw new Error(`the lab has no ${url}`);
    return stringify({ ...given, base: { ...given.base, url, sha256: found.sha256 } });
  }

  /** The template that had this VMID before, and the base images: no node has a disk of them. */
  private async removeOlder(): Promise<void> {
    const { vms } = await this.site.lab.status;
    if (vms.some(({ vmid }) => vmid === this.vmid))
      await this.baker.pve("DELETE", `nodes/${places.node}/qemu/${this.vmid}`);
    for (const { volid } of await this.volumes(places.imageStorage))
      if (volid.includes(":import/")) await this.baker.pve("DELETE", `${content(places.imageStorage)}/${volid}`);
  }

  /** What is wrong at this moment. */
  async look(): Promise<string[]> {
    return violationsNow(await this.facts(), this.others);
  }

  /** What is wrong now that a run has ended. */
  async ended(): Promise<string[]> {
    return violationsAfter(await this.facts(), this.others, await this.left());
  }

  private async facts(): Promise<BakeFacts> {
    const { vms } = await this.site.lab.status;
    const [files, disks] = [await this.volumes(places.imageStorage), await this.volumes(places.storage)];
    const options = vms.some(({ vmid }) => vmid === this.vmid) ? await this.options(this.vmid) : new Map();
    return {
      ...{ image: this.image, vmid: this.vmid, proofVmid: PROOF, vms, options },
      files: [...files, ...disks]
        .filter((volume) => ["iso", "snippets"].includes(volume.content) && !volume.volid.endsWith(STRANGE_CD))
        .map(({ volid }) => volid),
      disks: disks.flatMap(({ volid, vmid }) => (vmid === undefined ? [] : [{ volid, vmid }])),
      isProved: await this.isProved(options),
      tasks: (await this.tasks()).filter(({ upid }) => !this.earlier.has(upid)).map(({ type }) => type),
      others: await this.readOthers(),
    };
  }

  private async left(): Promise<LeftFacts> {
    const logs = await readdir(join(this.site.project, "bakes")).catch(() => []);
    const state = await this.site.expect(0, "stack", "export", "--stack", "dev");
    const [, secret = ""] = this.key.privateKey.split("\n");
    const token = this.site.lab.env.EVERGREEN_BAKE_API_TOKEN ?? "";
    const credentials = Object.entries({ "the key that signs": secret, "the token of bakes": token });
    return { logs, credentials: credentials.filter(([, text]) => state.includes(text)).map(([name]) => name) };
  }

  /** The strangers, and all templates but the one of this trial. */
  private async readOthers(): Promise<Map<string, string>> {
    const { vms } = await this.site.lab.status;
    const own = vms.filter(({ vmid, template }) => (template && vmid !== this.vmid) || vmid === STRANGER);
    const cds = (await this.volumes(places.imageStorage)).filter(({ volid }) => volid.endsWith(STRANGE_CD));
    const seen = await Promise.all(
      own.map(async ({ vmid, name, running }): Promise<[string, string]> => {
        return [`VM ${vmid} (${name})`, JSON.stringify([running, ...(await this.options(vmid))])];
      }),
    );
    return new Map([...seen, ...cds.map((cd): [string, string] => [cd.volid, JSON.stringify(cd)])]);
  }

  private async options(vmid: number): Promise<Map<string, string>> {
    const config = await this.baker.pve("GET", `nodes/${places.node}/qemu/${vmid}/config`);
    return new Map(Object.entries(config as object).map(([name, value]) => [name, String(value)]));
  }

  private async isProved(options: ReadonlyMap<string, string>): Promise<boolean> {
    const [identity, digest] = [identityOf(options), notedRecord(options.get("description") ?? "")];
    if (identity === undefined || digest === undefined) return false;
    const found = await readRecord(join(this.site.project, "records"), digest, [this.key.trusted]);
    if (found?.tests.kind !== "signed") return false;
    const { isPassed, subject } = found.tests.statement;
    return (
      isPassed && subject.templates.some(({ uuid, config }) => uuid === identity.uuid && config === identity.config)
    );
  }

  private async volumes(storage: string): Promise<Volume[]> {
    return (await this.baker.pve("GET", content(storage))) as Volume[];
  }

  /** The tasks of the token of bakes that are for the VMID of the template. */
  private async tasks(): Promise<{ upid: string; type: string }[]> {
    const given = { source: "all", vmid: String(this.vmid), limit: "500" };
    const all = ["archive", "active"].map((source) =>
      this.baker.pve("GET", `nodes/${places.node}/tasks`, { ...given, source }),
    );
    return (await Promise.all(all)).flat() as { upid: string; type: string }[];
  }
}
