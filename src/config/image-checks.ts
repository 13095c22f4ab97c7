import { architecturesOf, artefactFaults, pluginsWithoutImages } from "../domain/images/artefacts.ts";
import type { ImageDefinition } from "../domain/images/definition.ts";
import type { Finding } from "./messages.ts";

/*
 * What must fit together in a definition whose keys are right one by one.
 */

/** What RKE2 compares with the kernel when it starts with `profile: cis` (its rke2-cis-sysctl.conf): other values end it. */
const CIS_SYSCTL: Readonly<Record<string, string>> = {
  "vm.panic_on_oom": "0",
  "vm.overcommit_memory": "1",
  "kernel.panic": "10",
  "kernel.panic_on_oops": "1",
};

/** Parameters of the kernel that are not an image's to choose: they decide which system starts, and as which machine. */
const BOOT_PARAMETERS =
  /^(root|rootflags|rootfstype|init|rdinit|initrd|systemd\.(unit|machine_id|hostname)|cloud-init|ds)(=|$)/;

/** Units that the contract between an image and the steps needs as they are. */
const KEPT_UNITS =
  /^(rke2-(server|agent)|evergreen-.*|qemu-guest-agent|cloud-(init|config|final).*|dbus|systemd-.*)\.[a-z]+$/;

/** Units that would change packages behind everybody's back: the bake masks them. */
const UPDATERS = /^(apt-daily.*|unattended-upgrades)\.[a-z]+$/;

/** Checks of the keys that concern more than one value. */
export function keyFindings(definition: ImageDefinition): Finding[] {
  return [
    ...dateFindings(definition),
    ...artefactFindings(definition),
    ...packageFindings(definition),
    ...kernelFindings(definition),
    ...serviceFindings(definition),
  ];
}

function dateFindings({ archiveDate, base }: ImageDefinition): Finding[] {
  if (archiveDate.slice(0, 8) >= base.serial.slice(0, 8)) return [];
  return [
    {
      path: ["archiveDate"],
      what: `the archive of ${archiveDate.slice(0, 8)} is older than the base image of ${base.serial}: its packages would be older than those that are installed`,
      todo: `set archiveDate to ${base.serial.slice(0, 8)}T000000Z or later, or take an older base image`,
    },
  ];
}

/** Other names for the architectures of Debian in the names of images. */
const ARCHITECTURES: readonly (readonly [RegExp, string])[] = [
  [/amd64|x86[_-]64/, "amd64"],
  [/arm64|aarch64/, "arm64"],
];

function artefactFindings({ rke2, base }: ImageDefinition): Finding[] {
  const own = architecturesOf(rke2.artefacts);
  const file = base.url.split("/").at(-1) ?? "";
  const other = ARCHITECTURES.find(([name, architecture]) => name.test(file) && !own.includes(architecture));
  const mixed: Finding[] =
    other === undefined || own.length === 0
      ? []
      : [
          {
            path: ["rke2", "artefacts"],
            isOfKey: true,
            what: `the base image is for ${other[1]}, and the artefacts of RKE2 are for ${own.join(" and ")}`,
            todo: `take the artefacts for ${other[1]}, or another base image`,
          },
        ];
  const faults = artefactFaults(rke2).map(({ file: name, what, todo }) => ({
    path: ["rke2", "artefacts", ...(name === undefined ? [] : [name])],
    isOfKey: true,
    what,
    todo,
  }));
  return [...faults, ...mixed, ...cniFindings(rke2)];
}

function cniFindings(rke2: ImageDefinition["rke2"]): Finding[] {
  const { cni } = rke2;
  const without = pluginsWithoutImages(rke2).map((plugin) => ({
    path: ["rke2", "cni", cni.indexOf(plugin)],
    what: `cni has ${plugin}, and no artefact has its container images: joins would pull them`,
    todo: `add rke2-images-${plugin}.linux-ARCH.tar.zst with its list, or take it out of cni`,
  }));
  return [...without, ...combinationFindings(cni)];
}

function combinationFindings(cni: ImageDefinition["rke2"]["cni"]): Finding[] {
  if (cni.length === 1 && cni[0] === "multus")
    return [
      {
        path: ["rke2", "cni"],
        what: "multus is no network by itself: it stands before another plugin",
        todo: "add the plugin that it stands before, such as canal",
      },
    ];
  if (cni.length === 1 || !cni.includes("none")) return [];
  return [
    {
      path: ["rke2", "cni"],
      what: "cni has none and a plugin: clusters with none use no plugin of RKE2",
      todo: "keep the plugins whose images shall be there, or none alone",
    },
  ];
}

function packageFindings({ packages, ssh }: ImageDefinition): Finding[] {
  const index = packages.indexOf("openssh-server");
  if (index < 0 || ssh) return [];
  return [
    {
      path: ["packages", index],
      what: "packages has openssh-server, and ssh is false",
      todo: "set ssh to true when nodes shall have an SSH server, or take it out of packages",
    },
  ];
}

function kernelFindings({ kernel, sysctl, hardening }: ImageDefinition): Finding[] {
  const boot = kernel.parameters.flatMap((parameter, index): Finding[] =>
    BOOT_PARAMETERS.test(parameter)
      ? [
          {
            path: ["kernel", "parameters", index],
            what: `the kernel parameter ${parameter} is not an image's to choose: it decides which system starts, and as which machine`,
            todo: "remove it",
          },
        ]
      : [],
  );
  if (hardening !== "cis") return boot;
  const other = Object.entries(CIS_SYSCTL).flatMap(([name, wanted]): Finding[] => {
    const key = Object.keys(sysctl).find((one) => one.replaceAll("/", ".") === name);
    if (key === undefined || sysctl[key] === wanted) return [];
    return [
      {
        path: ["sysctl", key],
        what: `${name} is ${sysctl[key] ?? ""}, and RKE2 does not start with profile cis unless it is ${wanted}`,
        todo: "remove it: hardening cis sets it",
      },
    ];
  });
  return [...boot, ...other];
}

function serviceFindings({ services: { enable, mask } }: ImageDefinition): Finding[] {
  const kept = [
    ...enable.map((unit, index) => ({ unit, path: ["services", "enable", index], isUnmasked: true })),
    ...mask.map((unit, index) => ({ unit, path: ["services", "mask", index], isUnmasked: false })),
  ].flatMap(({ unit, path, isUnmasked }): Finding[] => {
    if (KEPT_UNITS.test(unit))
      return [{ path, what: `${unit} is switched by Evergreen or by the system itself`, todo: "remove it" }];
    if (isUnmasked && UPDATERS.test(unit))
      return [
        {
          path,
          what: `${unit} changes packages of nodes that run, behind the back of every rollout`,
          todo: "remove it: nodes get updates from a newer image",
        },
      ];
    return [];
  });
  const both = mask.flatMap((unit, index): Finding[] =>
    enable.includes(unit)
      ? [{ path: ["services", "mask", index], what: `${unit} is both enabled and masked`, todo: "keep one of them" }]
      : [],
  );
  return [...kept, ...both];
}
