/** Checks of an image that its definition asks for, as data. */
import { templateNameOf, type ImageDefinition } from "./definition.ts";
import type { Check } from "./hygiene.ts";
import { absent, BOTH, file, plants, prints } from "./hygiene-forms.ts";

export function checksOfDefinition(definition: ImageDefinition): Check[] {
  const { hold, kernel, sysctl, hardening, ssh } = definition;
  const settings = Object.entries(sysctl);
  const checks: (Check | false)[] = [
    prints(
      { id: "image", looksAt: "what the image says of itself" },
      BOTH,
      'sed -n \'s/^  "\\(image\\|rke2\\)": "\\(.*\\)",$/\\2/p\' /etc/evergreen/image.json',
      `${templateNameOf(definition)}\n${definition.rke2.version}`,
      plants("another version", `sed -i 's/"rke2": ".*"/"rke2": "v1.0.0+rke2r1"/' /etc/evergreen/image.json`),
    ),
    prints(
      { id: "rke2-version", looksAt: "the program itself" },
      BOTH,
      "/usr/local/bin/rke2 --version | awk 'NR == 1 { print $3 }'",
      definition.rke2.version,
      plants("another program", "printf '#!/bin/sh\\necho rke2 version v1.0.0\\n' >/usr/local/bin/rke2"),
    ),
    prints(
      { id: "held-packages", looksAt: "packages that no patch replaces" },
      BOTH,
      // apt would leave a cache in the sealed image.
      "dpkg --get-selections | awk '$2 == \"hold\" { print $1 }'",
      hold.toSorted().join("\n"),
      plants("one more", "apt-mark hold tar"),
    ),
    !ssh &&
      absent(
        { id: "ssh-server", looksAt: "an SSH server that nobody asked for" },
        BOTH,
        "/usr/sbin/sshd",
        plants("a server", file("/usr/sbin/sshd")),
      ),
    settings.length > 0 &&
      prints(
        { id: "sysctl", looksAt: "the kernel's settings" },
        BOTH,
        `sysctl -n ${settings.map(([name]) => name).join(" ")}`,
        settings.map(([, value]) => value).join("\n"),
        plants("another value", planted(sysctl)),
      ),
    kernel.modules.length > 0 &&
      prints(
        { id: "modules", looksAt: "the kernel's modules" },
        BOTH,
        `for name in ${kernel.modules.join(" ")}; do [ -d "/sys/module/$(echo "$name" | tr - _)" ] || echo "$name"; done`,
        "",
        plants("one that is not loaded", `modprobe -r ${kernel.modules.at(-1) ?? ""}`),
      ),
    hardening === "cis" &&
      prints(
        { id: "cis-account", looksAt: "the account of etcd, which opens no shell" },
        BOTH,
        "getent passwd etcd | cut -d : -f 1,7",
        "etcd:/sbin/nologin",
        plants("no such account", "userdel etcd"),
      ),
    hardening === "cis" &&
      prints(
        { id: "cis-sysctl", looksAt: "the settings that RKE2's profile cis asks for" },
        BOTH,
        "sysctl -n vm.panic_on_oom vm.overcommit_memory kernel.panic kernel.panic_on_oops",
        "0\n1\n10\n1",
        plants("another value", "sysctl -q -w kernel.panic=0"),
      ),
    hardening === "cis" &&
      prints(
        { id: "cis-audit", looksAt: "a policy that records who did what" },
        BOTH,
        "grep -c '^  - level: Metadata' /etc/rancher/rke2/audit-policy.yaml",
        "1",
        plants("a policy that records nothing", "echo 'rules: [{ level: None }]' >/etc/rancher/rke2/audit-policy.yaml"),
      ),
  ];
  return checks.filter((check) => check !== false);
}

/** Sets one of some settings to the next number: there are those with which at 0 no program starts any more. */
function planted(sysctl: ImageDefinition["sysctl"]): string {
  const [name, value] =
    Object.entries(sysctl).find(([, text]) => /^\d+$/.test(text)) ?? Object.entries(sysctl)[0] ?? [];
  return `sysctl -q -w ${name ?? ""}=${Number(value) + 1 || 0}`;
}
