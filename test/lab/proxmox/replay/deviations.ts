/** Recorded exchanges that the emulator answers otherwise, by `version id`, each with the reason. Nothing else may. */
export const deviations: Record<string, string> = {
  "8.4 3-download-upload-import-pools-ha/26": "the name of the temporary file is random",
  "8.4 3-download-upload-import-pools-ha/32": "the place in the source file is that of the probe's host",
  "8.4 destroy-deaf-guest/28":
    "recorded while the overruling stop was still ending the process; the emulator's power off takes no time",
  "8.4 download/19": "the log of a failed download also holds what wget printed",
  "9.2 3-download-upload-import-pools-ha/26": "the name of the temporary file is random",
  "9.2 3-download-upload-import-pools-ha/32": "the place in the source file is that of the probe's host",
  "9.2 4-remote-permissions-parallel-destroy/7":
    "no statistics daemon ran on the probe's host, so the node was unknown",
  "9.2 4-remote-permissions-parallel-destroy/11": "as above",
  "9.2 4-remote-permissions-parallel-destroy/50": "the probe's host had no timedatectl",
};
