/** The stages that seal an image (images/bake/stages/seal): what they take from the disk of the guest. */
import { measure } from "./commands.ts";
import { bakeDirectory, type Stage } from "./stage.ts";

const sources: Stage = ({ files }) => {
  for (const path of ["/etc/apt/sources.list.d/evergreen-bake.sources", "/etc/apt/apt.conf.d/91-evergreen-bake"])
    files.remove(path);
  const site = `${bakeDirectory}/site-sources`;
  for (const path of files.below(site)) files.put(`/etc/apt${path.slice(site.length)}`, files.text(path));
  for (const path of ["/var/lib/apt/lists", "/var/cache/apt/archives", "/var/lib/evergreen-bake"]) files.remove(path);
  return ["+ apt-get -q clean"];
};

const identity: Stage = ({ files }) => {
  for (const path of ["/etc/machine-id", "/etc/hostname"]) files.put(path, "");
  const keys = files.below("/etc/ssh").filter((path) => path.startsWith("/etc/ssh/ssh_host_"));
  const orders = files.below("/etc/evergreen").filter((path) => /\/(join\.|yield|registr)/.test(path));
  const others = ["/var/lib/systemd/random-seed", "/root/.ssh/authorized_keys", "/etc/rancher/node"];
  for (const path of [...keys, ...orders, ...others]) files.remove(path);
  return [];
};

const cloudInit: Stage = ({ files }) => {
  for (const path of ["/var/lib/cloud", "/run/cloud-init", "/etc/netplan/50-cloud-init.yaml"]) files.remove(path);
  return ["+ cloud-init clean --logs --seed"];
};

const traces: Stage = ({ files }) => {
  for (const path of ["/var/log/journal", "/var/lib/dhcp", "/var/crash", "/var/lib/systemd/coredump"])
    files.remove(path);
  for (const path of [...files.below("/tmp"), ...files.below("/var/tmp")]) files.remove(path);
  for (const path of files.below("/root").filter((one) => one.endsWith("history"))) files.remove(path);
  for (const path of files.below("/var/log")) files.put(path, "");
  return [];
};

export const sealStages: Readonly<Record<string, Stage>> = {
  sources,
  identity,
  "cloud-init": cloudInit,
  traces,
  measure: ({ files }) => [measure(files, "/var/lib/evergreen/record").trim()],
  trim: () => ["/: 1.9 GiB (2040109056 bytes) trimmed"],
};
