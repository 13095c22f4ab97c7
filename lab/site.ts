/** Addresses and files of a lab: addresses below its prefix, files below its directory. */
import { createHash } from "node:crypto";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Binaries } from "./guest/context.ts";
import type { ProcessId } from "./processes.ts";
import type { Profile, StorageKind } from "./types.ts";

/** Options of a lab. */
export interface LabOptions {
  /** @default "dev" */
  name: string;
  /** First two octets of every address: `127.40`. Two labs at once need two prefixes. */
  prefix: string;
  /** Contains everything of the lab; removed with the lab. */
  directory: string;
  profile: Profile["name"];
  /** Proxmox VE's behaviour. */
  version: "8.4" | "9.2";
  /** Kind of the storage of all VMs. @default "dir" */
  storage?: StorageKind;
  /** Names of the Proxmox hosts; each has a copy of every template unless storage is shared. @default "pve1" alone */
  hosts?: readonly string[];
  /** The programs that run in server VMs. */
  binaries: Binaries;
  /** The program of an S3 server with a bucket for snapshots. @default none */
  objectStore?: string;
  /** The lab ends and removes its files when this process ends: a killed test cleans up nothing. @default none */
  owner?: ProcessId;
  /** Makes API servers report each request first, so that it can be held. Costs milliseconds each. @default false */
  audit?: boolean;
  /** When the workload is deployed: automatically once agents exist, or on request. @default "auto" */
  load?: "auto" | "asked";
}

/** Passphrase of the lab's Pulumi state, which contains no secret worth protecting. */
const passphrase = "lab";

/** Addresses of a lab. */
export function addressesOf(prefix: string) {
  return {
    proxmox: `${prefix}.0.2`,
    objectStore: `${prefix}.0.3`,
    audit: `${prefix}.0.4`,
    registration: `${prefix}.0.5`,
    /** For a second cluster in the same lab, which the lab does not watch. */
    secondRegistration: `${prefix}.0.6`,
  };
}

/** Files of a lab. */
export function filesOf(directory: string) {
  return {
    /** The lab's process (pid, start time, boot) and its options. */
    daemon: join(directory, "daemon.json"),
    log: join(directory, "daemon.log"),
    socket: socketOf(directory),
    env: join(directory, "env.json"),
    kubeconfig: join(directory, "kubeconfig"),
    /** Directory that contains only the lab's CA, for Go programs. */
    certificates: join(directory, "certificates"),
    ca: join(directory, "certificates", "lab-ca.pem"),
    /** Pulumi's state. */
    state: join(directory, "state"),
    /** Data of the S3 server. */
    objectStore: join(directory, "object-store"),
    /** Audit configuration of the API servers. */
    audit: join(directory, "audit"),
    /** Data of the guests and their processes. */
    guests: join(directory, "guests"),
  };
}

/** Path of the control socket: a unix socket's path has at most 107 bytes, which a checkout's path may exceed. */
function socketOf(directory: string): string {
  const socket = join(directory, "control.sock");
  if (Buffer.byteLength(socket) < 104) return socket;
  const digest = createHash("sha256").update(directory).digest("hex").slice(0, 16);
  return join(tmpdir(), `evergreen-lab-${digest}.sock`);
}

/** Variables that Pulumi and `evergreen` need to reach a lab. Written to `env.json`, readable by its owner only. */
export interface LabEnv {
  PROXMOX_VE_ENDPOINT: string;
  PROXMOX_VE_API_TOKEN: string;
  NODE_EXTRA_CA_CERTS: string;
  SSL_CERT_DIR: string;
  PULUMI_BACKEND_URL: string;
  PULUMI_CONFIG_PASSPHRASE: string;
  KUBECONFIG: string;
  /** Token that bakes images. */
  EVERGREEN_BAKE_API_TOKEN?: string;
  /** Credentials for the S3 server, when the lab has one. */
  AWS_ACCESS_KEY_ID?: string;
  AWS_SECRET_ACCESS_KEY?: string;
}

/** @param credential `USER@REALM!ID=UUID` */
export function envOf(prefix: string, directory: string, credential: string): LabEnv {
  const files = filesOf(directory);
  return {
    PROXMOX_VE_ENDPOINT: `https://${addressesOf(prefix).proxmox}:8006/`,
    PROXMOX_VE_API_TOKEN: credential,
    NODE_EXTRA_CA_CERTS: files.ca,
    SSL_CERT_DIR: files.certificates,
    PULUMI_BACKEND_URL: `file://${files.state}`,
    PULUMI_CONFIG_PASSPHRASE: passphrase,
    KUBECONFIG: files.kubeconfig,
  };
}
