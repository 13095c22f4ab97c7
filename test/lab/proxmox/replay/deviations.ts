/*
 * What no recording here shows, and stays unlike:
 * - index paths, as `nodes/N`: 501. Nobody of ours asks for them, and what they list is more than is emulated.
 * - weights of a processor above 10,000 are kept as they are sent; Proxmox VE keeps 10,000 on hosts with cgroup v2.
 * - options of a running VM beyond those of lab/proxmox/config/pending.ts, as USB devices, wait for its next start.
 * - a text that must be there and comes without a value is an empty one, as recorded of a write by the agent.
 * - CPU models, flags and machines are those of 8.4 under 9.2 too.
 */

/** Recorded exchanges that the emulator answers otherwise, by `version id`, each with the reason. Nothing else may. */
export const deviations: Record<string, string> = {
  "8.4 3-download-upload-import-pools-ha/26": "the name of the temporary file is random",
  "8.4 3-download-upload-import-pools-ha/32": "the place in the source file is that of the probe's host",
  "8.4 4-remote-permissions-parallel-destroy/48": "the probe's host had no network of its own",
  "8.4 destroy-deaf-guest/28":
    "recorded while the overruling stop was still ending the process; the emulator's power off takes no time",
  "8.4 download/19": "the log of a failed download also holds what wget printed",
  "8.4 8-baking/7": "the web of the emulator has no TLS that could fail",
  "8.4 8-baking/30": "the name of the temporary file has the number of a process in it",
  "8.4 8-baking/31": "wget's own words are not emulated, only its exit code",
  "8.4 8-baking/50": "the name of the temporary file is random",
  "8.4 8-baking/62": "refused with a plain text for a body, which no client of ours reads",
  "8.4 8-baking/128": "what was moved before by move_disk, which is not emulated, left its old disk as unused",
  "8.4 8-baking/130": "as above",
  "8.4 8-baking/144": "as above: the linked clone has another name, and was not deleted",
  "8.4 8-baking/180": "who has no ticket is told so before the token is looked at; nothing of ours logs in",
  ...Object.fromEntries(
    [8, 9, 10, 22, 23, 24].map((id) => [
      `8.4 9-volume-rights/${id}`,
      "the recorder's storage was defined and not there",
    ]),
  ),
  "8.4 9-volume-rights/37": "as above",
  "9.2 3-download-upload-import-pools-ha/26": "the name of the temporary file is random",
  "9.2 3-download-upload-import-pools-ha/32": "the place in the source file is that of the probe's host",
  "9.2 4-remote-permissions-parallel-destroy/7":
    "no statistics daemon ran on the probe's host, so the node was unknown",
  "9.2 4-remote-permissions-parallel-destroy/11": "as above",
  "9.2 4-remote-permissions-parallel-destroy/48": "the probe's host had no network of its own",
  "9.2 4-remote-permissions-parallel-destroy/50": "the probe's host had no timedatectl",
};
