import type { Properties } from "./property-format.ts";

/** CPU models of a VM. */
const models = new Set(
  (
    "486 pentium pentium2 pentium3 coreduo core2duo Conroe Penryn Nehalem Nehalem-IBRS Westmere Westmere-IBRS SandyBridge " +
    "SandyBridge-IBRS IvyBridge IvyBridge-IBRS Haswell Haswell-IBRS Haswell-noTSX Haswell-noTSX-IBRS Broadwell Broadwell-IBRS " +
    "Broadwell-noTSX Broadwell-noTSX-IBRS Skylake-Client Skylake-Client-IBRS Skylake-Client-noTSX-IBRS Skylake-Client-v4 " +
    "Skylake-Server Skylake-Server-IBRS Skylake-Server-noTSX-IBRS Skylake-Server-v4 Skylake-Server-v5 Cascadelake-Server " +
    "Cascadelake-Server-v2 Cascadelake-Server-noTSX Cascadelake-Server-v4 Cascadelake-Server-v5 Cooperlake Cooperlake-v2 " +
    "KnightsMill Icelake-Client Icelake-Client-noTSX Icelake-Server Icelake-Server-noTSX Icelake-Server-v3 Icelake-Server-v4 " +
    "Icelake-Server-v5 Icelake-Server-v6 SapphireRapids SapphireRapids-v2 GraniteRapids athlon phenom Opteron_G1 Opteron_G2 " +
    "Opteron_G3 Opteron_G4 Opteron_G5 EPYC EPYC-IBPB EPYC-v3 EPYC-v4 EPYC-Rome EPYC-Rome-v2 EPYC-Rome-v3 EPYC-Rome-v4 EPYC-Milan " +
    "EPYC-Milan-v2 EPYC-Genoa host kvm32 kvm64 qemu32 qemu64 max x86-64-v2 x86-64-v2-AES x86-64-v3 x86-64-v4"
  ).split(" "),
);

/** Flags that a VM may set; a custom model may set any. */
const flags = "pcid spec-ctrl ibpb ssbd virt-ssbd amd-ssbd amd-no-ssb pdpe1gb md-clear hv-tlbflush hv-evmcs aes".split(
  " ",
);

export const cpu: Properties = {
  cputype: { type: "string", isDefault: true },
  "reported-model": { type: "string", enum: [...models] },
  hidden: { type: "boolean" },
  "hv-vendor-id": { type: "string", pattern: /^[a-zA-Z0-9]{1,12}$/ },
  flags: { type: "string", pattern: /^[+-][a-zA-Z0-9\-_.]+(;[+-][a-zA-Z0-9\-_.]+)*$/ },
  "phys-bits": {
    type: "string",
    format: (value) =>
      value === "host" || (/^\d{1,2}$/.test(value) && Number(value) >= 8 && Number(value) <= 64)
        ? undefined
        : "invalid format - value must be an integer between 8 and 64 or 'host'\n",
  },
};

/** Why a CPU setting with valid parts is refused. No site of the lab has custom models. */
export function cpuProblem(found: ReadonlyMap<string, string>): string | undefined {
  const type = found.get("cputype") ?? "";
  if (type.startsWith("custom-")) return `Custom cputype '${type.slice("custom-".length)}' not found`;
  if (!models.has(type)) return `Built-in cputype '${type}' is not defined (missing 'custom-' prefix?)`;
  const asked = (found.get("flags") ?? "").split(";").filter(Boolean);
  if (asked.some((flag) => !flags.includes(flag.slice(1)))) {
    return `VM-specific CPU flags must be a subset of: ${flags.join(", ")}`;
  }
  return found.has("reported-model") ? "Property 'reported-model' not allowed in VM-specific CPU config." : undefined;
}
