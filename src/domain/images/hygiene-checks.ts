/**
 * The checks of an image as data. Each one has a planted defect that exactly it must find (test/image): a check that
 * finds nothing is worse than none.
 */
import type { ImageDefinition } from "./definition.ts";
import type { Check } from "./hygiene.ts";
import { checksOfDefinition } from "./hygiene-of-definition.ts";
import { absent, asks, BOTH, CLONE, file, lines, plants, prints, SEALED } from "./hygiene-forms.ts";
import { MASKED_UNITS } from "./user-data.ts";

/** All checks of images of this definition. */
export function checksOf(definition: ImageDefinition): Check[] {
  return [...IDENTITY, ...TRACES, ...UNITS, ...HOST, ...checksOfDefinition(definition)];
}

/** What makes a machine this one. */
const IDENTITY: readonly Check[] = [
  prints(
    {
      id: "machine-id-empty",
      looksAt: "that clones get an id of their own, and no first boot that enables every unit",
    },
    SEALED,
    "cat /etc/machine-id",
    "",
    plants("the word that makes the next boot a first one", "echo uninitialized >/etc/machine-id"),
  ),
  {
    id: "machine-id",
    looksAt: "that the guest is the VM that was made, by its SMBIOS uuid",
    moments: CLONE,
    script: "cat /etc/machine-id",
    expected: "machine-id",
    mutant: plants("the id of another machine", "echo 0123456789abcdef0123456789abcdef >/etc/machine-id"),
  },
  absent(
    { id: "dbus-machine-id", looksAt: "a second copy of the machine's id" },
    SEALED,
    "/var/lib/dbus/machine-id -type f",
    plants("a copy of the id", file("/var/lib/dbus/machine-id")),
  ),
  prints(
    { id: "hostname-empty", looksAt: "the name of the bake's guest" },
    SEALED,
    "cat /etc/hostname",
    "",
    plants("a name", "echo bake >/etc/hostname"),
  ),
  absent(
    { id: "host-keys", looksAt: "SSH host keys that all clones would share" },
    SEALED,
    "/etc/ssh -name 'ssh_host_*'",
    plants("a host key", file("/etc/ssh/ssh_host_ed25519_key")),
  ),
  absent(
    { id: "random-seed", looksAt: "a seed of random numbers, or a key of credentials, that all clones would share" },
    SEALED,
    "/var/lib/systemd/random-seed /var/lib/systemd/credential.secret",
    plants("a seed", file("/var/lib/systemd/random-seed")),
  ),
  absent(
    { id: "users", looksAt: "accounts of people" },
    SEALED,
    "/home -mindepth 1 -maxdepth 1",
    plants("an account", "useradd -m intruder"),
  ),
  absent(
    { id: "authorized-keys", looksAt: "keys that open a shell on every clone" },
    SEALED,
    "/root/.ssh -name authorized_keys -size +0",
    plants("a key of root", file("/root/.ssh/authorized_keys")),
  ),
  prints(
    { id: "passwords", looksAt: "accounts that a password, or none, opens" },
    BOTH,
    "awk -F : '$2 !~ /^[!*]/ { print $1 }' /etc/shadow",
    "",
    plants("a password of root", "usermod -p '$6$x$y' root"),
  ),
];

/** What a bake leaves behind. */
const TRACES: readonly Check[] = [
  absent(
    { id: "cloud-init-instance", looksAt: "what cloud-init knows of the bake's guest, its user-data among it" },
    SEALED,
    "/var/lib/cloud -mindepth 1",
    plants("an instance", file("/var/lib/cloud/instances/bake/user-data.txt")),
  ),
  absent(
    { id: "network", looksAt: "the network of the bake's guest" },
    SEALED,
    "/etc/netplan /etc/systemd/network /etc/network/interfaces.d -name '*cloud-init*'",
    plants("its configuration", file("/etc/systemd/network/10-cloud-init-eth0.network")),
  ),
  absent(
    { id: "journal", looksAt: "the journal of the bake" },
    SEALED,
    "/var/log/journal -mindepth 1",
    plants("a journal", file("/var/log/journal/0123/system.journal")),
  ),
  prints(
    { id: "log-size", looksAt: "logs of more than 1 MiB" },
    SEALED,
    "du -sk --exclude=journal /var/log | awk '$1 > 1024 { print $1 }'",
    "",
    plants("a log", "head -c 2000000 /dev/zero >/var/log/planted.log"),
  ),
  absent(
    { id: "crashes", looksAt: "memory of programs that crashed" },
    BOTH,
    "/var/lib/systemd/coredump /var/crash -type f",
    plants("a dump", file("/var/lib/systemd/coredump/core.zst")),
  ),
  absent(
    { id: "histories", looksAt: "what somebody has typed" },
    SEALED,
    "/root -maxdepth 1 -name '.*history'",
    plants("a history", file("/root/.bash_history")),
  ),
  absent(
    { id: "temporary-files", looksAt: "files of programs that ran in the bake" },
    SEALED,
    "/tmp /var/tmp -mindepth 1 ! -path '*/systemd-private-*'",
    plants("a file", file("/var/tmp/planted")),
  ),
  absent(
    { id: "bake-leftovers", looksAt: "downloads and settings of the bake" },
    SEALED,
    "/var/lib/evergreen-bake /etc/apt/sources.list.d/evergreen-bake.sources /etc/apt/apt.conf.d/91-evergreen-bake",
    plants("its archive", file("/etc/apt/sources.list.d/evergreen-bake.sources")),
  ),
  absent(
    { id: "package-cache", looksAt: "lists and packages of the archive" },
    SEALED,
    "/var/lib/apt/lists /var/cache/apt/archives -type f ! -name lock",
    plants("a package", file("/var/cache/apt/archives/planted.deb")),
  ),
  absent(
    { id: "orders", looksAt: "orders and join data" },
    SEALED,
    "/etc/evergreen -mindepth 1 ! -name image.json ! -name balancers",
    plants("join data", file("/etc/evergreen/join.yaml")),
  ),
  absent(
    { id: "cluster-state", looksAt: "what RKE2 made when it was started to import images" },
    SEALED,
    "/etc/rancher/node /etc/rancher/rke2/rke2.yaml /var/lib/rancher/rke2/server /var/lib/rancher/rke2/agent/etc /var/lib/cni",
    plants("a token", file("/var/lib/rancher/rke2/server/token")),
  ),
];

const WAITING = ["evergreen-join.path", "evergreen-yield.path", "evergreen-registries.path", "evergreen-health.socket"];

/** What runs, waits, and must never start by itself. */
const UNITS: readonly Check[] = [
  prints(
    { id: "rke2-disabled", looksAt: "that no boot starts RKE2 before its join data" },
    BOTH,
    asks("is-enabled rke2-server.service rke2-agent.service"),
    lines("disabled", 2),
    plants("RKE2 as an agent at each boot", "systemctl enable rke2-agent.service"),
  ),
  prints(
    { id: "rke2-inactive", looksAt: "that RKE2 does not run without join data" },
    BOTH,
    asks("is-active rke2-server.service rke2-agent.service"),
    lines("inactive", 2),
    plants("an RKE2 that runs", "systemctl start --no-block rke2-server.service; sleep 2"),
  ),
  prints(
    { id: "rke2-preset", looksAt: "the second lock: presets that keep RKE2's units off" },
    BOTH,
    "systemctl list-unit-files --no-legend --plain rke2-server.service rke2-agent.service | awk '{ print $3 }'",
    lines("disabled", 2),
    plants("no presets", "rm /usr/lib/systemd/system-preset/10-evergreen.preset"),
  ),
  prints(
    { id: "units-enabled", looksAt: "that the units of the contract come with each boot" },
    BOTH,
    asks(`is-enabled ${WAITING.join(" ")} evergreen-join.service evergreen-log.service`),
    lines("enabled", WAITING.length + 2),
    plants("a boot without one", "systemctl disable evergreen-yield.path"),
  ),
  prints(
    { id: "units-waiting", looksAt: "that the units of the contract wait for their orders" },
    CLONE,
    asks(`is-active ${WAITING.join(" ")} evergreen-log.service`),
    lines("active", WAITING.length + 1),
    plants("one that does not wait", "systemctl stop evergreen-registries.path"),
  ),
  prints(
    { id: "orders-mode", looksAt: "the directory that keeps join data from everybody" },
    BOTH,
    "stat -c '%a %U %G' /etc/evergreen",
    "700 root root",
    plants("a directory that all may read", "chmod 755 /etc/evergreen"),
  ),
  prints(
    { id: "apt-masked", looksAt: "what would use apt by itself" },
    BOTH,
    asks(`is-enabled ${MASKED_UNITS.join(" ")}`),
    lines("masked", MASKED_UNITS.length),
    plants("a timer", "systemctl unmask apt-daily-upgrade.timer"),
  ),
  prints(
    { id: "failed-units", looksAt: "units that have failed" },
    CLONE,
    "systemctl list-units --failed --no-legend --plain | awk '{ print $1 }'",
    "",
    plants("a unit that failed", "systemd-run --quiet --unit planted false; sleep 1"),
  ),
  prints(
    { id: "cloud-init-verdict", looksAt: "what cloud-init says of the boot: errors that it got over count" },
    CLONE,
    `python3 -c '
import json
with open("/run/cloud-init/status.json") as file:
    stages = json.load(file)["v1"]
for name, stage in stages.items():
    if isinstance(stage, dict):
        for found in [*stage.get("errors", []), *stage.get("recoverable_errors", {}).items()]:
            print(name, found)
'`,
    "",
    plants(
      "an error that it got over",
      `sed -i 's/"recoverable_errors": {}/"recoverable_errors": {"WARNING": ["planted"]}/' /run/cloud-init/status.json`,
    ),
  ),
];

/** What a node of Kubernetes needs of its host. */
const HOST: readonly Check[] = [
  prints(
    { id: "swap", looksAt: "swap, now and at the next boot" },
    BOTH,
    "swapon --show=NAME --noheadings; awk '$1 !~ /^#/ && $3 == \"swap\"' /etc/fstab",
    "",
    plants("swap at the next boot", "echo '/swap.img none swap sw 0 0' >>/etc/fstab"),
  ),
  prints(
    { id: "time", looksAt: "that the clock is set by the network" },
    BOTH,
    asks("is-enabled systemd-timesyncd.service"),
    "enabled",
    plants("a clock of its own", "systemctl disable systemd-timesyncd.service"),
  ),
  prints(
    { id: "needrestart", looksAt: "that needrestart leaves RKE2 alone" },
    BOTH,
    "grep -c '\\^rke2-' /etc/needrestart/conf.d/90-evergreen.conf",
    "1",
    plants("its own ideas", "rm /etc/needrestart/conf.d/90-evergreen.conf"),
  ),
  prints(
    { id: "phasing", looksAt: "that an update comes to all machines or to none" },
    BOTH,
    "apt-config dump | grep -i '^APT::Get::Never-Include-Phased-Updates '",
    'APT::Get::Never-Include-Phased-Updates "true";',
    plants("updates by the machine's id", "rm /etc/apt/apt.conf.d/90-evergreen"),
  ),
  prints(
    { id: "kernel", looksAt: "that the kernel that runs is the one that the image names" },
    CLONE,
    '[ "$(sed -n \'s/.*"kernel": "\\(.*\\)".*/\\1/p\' /etc/evergreen/image.json)" = "$(uname -r)" ] || uname -r',
    "",
    plants("another name", 'sed -i \'s/"kernel": ".*"/"kernel": "1.0"/\' /etc/evergreen/image.json'),
  ),
];
