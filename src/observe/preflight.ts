import { UserError, UserErrors } from "../runtime/errors.ts";
import type { Config } from "../config/config.ts";
import { hardwareOfNodes } from "../config/node-hardware.ts";
import { placementsOf } from "../config/placement.ts";
import type { Proxmox } from "../clients/proxmox/client.ts";
import { findPermissionProblems, readVersion, type Purpose } from "../clients/proxmox/permissions.ts";
import { standIns } from "../runtime/stand-ins.ts";

/** The engine also reads every command line flag from the environment: PULUMI_OPTION_ and the name of the flag. */
const GOES_ON = ["PULUMI_CONTINUE_ON_ERROR", "PULUMI_OPTION_CONTINUE_ON_ERROR"];
const PARTIAL = ["TARGET", "TARGET_REPLACE", "REPLACE", "EXCLUDE"].map((name) => `PULUMI_OPTION_${name}`);

/**
 * Refuses environment variables that make a run unsafe, before anything is read.
 * @throws UserErrors with every problem
 */
export function checkEnvironment(environment: NodeJS.ProcessEnv): void {
  const set = (names: readonly string[]) => names.filter((name) => isSet(environment[name]));
  const problems = [
    ...set(GOES_ON).map((name) => ({
      what: `${name} is set: the engine would delete old nodes although new ones failed`,
      where: "the environment",
      todo: `unset ${name}, and do not use --continue-on-error`,
    })),
    ...set(PARTIAL).map((name) => ({
      what: `${name} is set: only a part of the steps would run, and each relies on those before it`,
      where: "the environment",
      todo: `unset ${name}; to replace the nodes of one pool raise its \`rollout\``,
    })),
  ];
  if (problems.length > 0) throw new UserErrors(problems);
}

/**
 * Checks the bucket's credentials. They come only from the environment: a stack file is committed to Git, and the
 * inputs of steps become part of the state.
 * @throws UserErrors that names every variable that is missing
 */
export function checkBackupCredentials(environment: NodeJS.ProcessEnv, { backup }: Config): void {
  const { s3 } = backup;
  if (s3 === undefined) return;
  const missing = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"].filter((name) => (environment[name] ?? "") === "");
  if (missing.length === 0) return;
  throw new UserErrors(
    missing.map((name) => ({
      what: `${name} is not set, and etcd snapshots go to the bucket ${s3.bucket}`,
      where: "the environment, for evergreen:backup.s3",
      todo: `export ${name}, of an identity that may write and read objects there and delete none`,
    })),
  );
}

function isSet(value: string | undefined): boolean {
  return value !== undefined && !["", "0", "false"].includes(value.toLowerCase());
}

/**
 * Refuses stand-in plugins for anything but the lab: they were never tested against a real Proxmox VE. The API itself
 * must report that it is a lab. An address proves nothing, not even a loopback address: it can be a tunnel to a real
 * site.
 * @param home PULUMI_HOME
 * @throws UserError when the API is not that of the lab, and a plugin is a stand-in
 */
export async function refuseStandIns(pve: Proxmox, home: string | undefined): Promise<void> {
  const stand = standIns(home);
  if (stand.length === 0 || (await readVersion(pve)).lab !== undefined) return;
  throw new UserError({
    what: `plugins that stand in for the official ones may drive only the lab: ${stand.join(", ")}`,
    where: `PULUMI_HOME; what answers at ${pve.endpoint} does not say that it is a lab`,
    todo: "run it where Pulumi's release downloads can be reached: `npx evergreen setup` then installs the official plugins",
  });
}

/** @throws UserErrors that names every privilege that the token lacks for the purpose, with its path */
export async function checkRights(pve: Proxmox, config: Config, purpose: Purpose): Promise<void> {
  const storages = placementsOf(config).flatMap(({ storage, furtherStorages }) => [storage, ...furtherStorages]);
  const site = { ...config.site, storages, hardware: hardwareOfNodes(config) };
  const problems = await findPermissionProblems(pve, site, purpose);
  if (problems.length > 0) throw new UserErrors(problems);
}
