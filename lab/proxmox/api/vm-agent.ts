/** Endpoints of a VM's guest agent. */
import { ApiError, died } from "../answer.ts";
import { needAny } from "../permissions.ts";
import { vmOf } from "../call.ts";
import type { Call, Route } from "../call.ts";
import { parseNic } from "../config/properties.ts";
import type { Vm } from "../model.ts";
import { spec } from "../params.ts";
import type { Specs } from "../params.ts";
import { agentAnswers } from "../power.ts";
import type { Guest } from "../../types.ts";
import { AgentError } from "../../types.ts";

const maxContent = 61_440;
const maxInput = 65_536;
/** What qemu-ga keeps of an output, in bytes. */
const maxOutput = 16 * 1024 ** 2;

type AgentKind = "Audit" | "FileRead" | "FileWrite" | "Unrestricted";

/** Version 8 has one privilege for all agent calls, version 9 one for each kind. */
function agentPerm(kind: AgentKind): (call: Call) => void {
  return (call) => {
    const now = [...new Set([`VM.GuestAgent.${kind}`, "VM.GuestAgent.Unrestricted"])];
    const path = `/vms/${call.params.get("vmid") ?? ""}`;
    needAny(call.dc, call.token, path, call.dc.version === "8.4" ? ["VM.Monitor"] : now);
  };
}

/** @throws ApiError in Proxmox VE's words when no agent can be called */
async function agentOf(call: Call): Promise<{ guest: Guest; vm: Vm }> {
  const vm = vmOf(call);
  if (!vm.config.has("agent")) throw died("No QEMU guest agent configured");
  if (!vm.power) throw died(`VM ${vm.vmid} is not running`);
  if (!vm.power.agentChannel || !(await agentAnswers(call.dc, vm))) throw died("QEMU guest agent is not running");
  return { guest: vm.power.guest, vm };
}

async function ask<T>(call: Call, question: (guest: Guest, vm: Vm) => T): Promise<T> {
  const { guest, vm } = await agentOf(call);
  try {
    return question(guest, vm);
  } catch (error) {
    if (!(error instanceof AgentError)) throw error;
    // As recorded: the daemon's worker dies of a message with a character that does not fit in a byte.
    if (isWide(error.message)) throw new ApiError(596, "Broken pipe", { bodyless: true });
    throw died(`Agent error: ${error.message}`);
  }
}

function nic(name: string, mac: string, addresses: { address: string; prefix: number; family: string }[]) {
  return {
    name,
    "hardware-address": mac.toLowerCase(),
    "ip-addresses": addresses.map(({ address, prefix, family }) => ({
      "ip-address": address,
      "ip-address-type": family,
      prefix,
    })),
    statistics: Object.fromEntries(
      ["rx", "tx"].flatMap((way) => ["bytes", "packets", "errs", "dropped"].map((what) => [`${way}-${what}`, 0])),
    ),
  };
}

function interfaces(guest: Guest, vm: Vm) {
  const mac = parseNic(String(vm.config.get("net0") ?? "virtio=00:00:00:00:00:00")).mac;
  const loopback = nic("lo", "00:00:00:00:00:00", [
    { address: "127.0.0.1", prefix: 8, family: "ipv4" },
    { address: "::1", prefix: 128, family: "ipv6" },
  ]);
  const others = guest.interfaces().map((found) => nic(found.name, found.mac || mac, found.addresses));
  return { result: [loopback, ...others] };
}

const isWide = (text: string): boolean => Array.from(text).some((letter) => (letter.codePointAt(0) ?? 0) > 255);

/** The bytes of the agent's text, one per character. @param where Perl encodes it */
function bytesOf(content: string, where = "PVE/API2/Qemu/Agent.pm line 521"): Buffer {
  // The range is Latin-1: Perl's base64 cannot encode a character that does not fit in a byte.
  if (isWide(content)) throw died(`Wide character in subroutine entry at /usr/share/perl5/${where}.`);
  return Buffer.from(content, "latin1");
}

/** Decodes base64 as the agent does: it ignores line breaks and an incomplete last group. */
function decoded(content: string): Buffer | undefined {
  if (!/^[A-Za-z0-9+/=\n]*$/.test(content)) return undefined;
  const digits = content.replaceAll("\n", "");
  return Buffer.from(digits.slice(0, digits.length - (digits.length % 4)), "base64");
}

function readFile(call: Call, guest: Guest): Record<string, unknown> {
  const whole = guest.readFile(call.params.text("file"));
  const content = whole.subarray(0, 16 * 1024 ** 2);
  return {
    content: content.toString("latin1"),
    "bytes-read": content.length,
    ...(content.length < whole.length && { truncated: 1 }),
  };
}

async function writeFile(call: Call): Promise<null> {
  const { params } = call;
  const encode = !params.has("encode") || params.flag("encode");
  const content = params.text("content");
  const bytes = encode ? bytesOf(content) : decoded(content);
  await ask(call, (guest) => {
    // The agent opens the file, and thereby empties it, before it decodes the content to write.
    guest.writeFile(params.text("file"), bytes ?? Buffer.alloc(0));
    if (!bytes) throw new AgentError("Base64 data contains invalid characters");
  });
  return null;
}

function exec(call: Call): Promise<{ pid: number }> {
  const { params } = call;
  const input = params.get("input-data");
  // The line is that of 8.4.21; no recording has it.
  const bytes = input === undefined ? undefined : bytesOf(input, "PVE/QemuServer/Agent.pm line 91");
  return ask(call, (guest) => ({ pid: guest.exec(params.list("command"), bytes) }));
}

/** An output as it is shown: absent when there is none. */
function shownOutput(name: "out" | "err", output: Buffer | undefined): Record<string, unknown> {
  if (output === undefined || output.length === 0) return {};
  return {
    [`${name}-data`]: output.toString("latin1", 0, maxOutput),
    [`${name}-truncated`]: output.length > maxOutput ? 1 : 0,
  };
}

function execStatus(call: Call): Promise<Record<string, unknown>> {
  return ask(call, (guest) => {
    const { exited, code, out, err } = guest.execStatus(call.params.int("pid"));
    if (!exited) return { exited: 0 };
    return { exited: 1, exitcode: code ?? 0, ...shownOutput("out", out), ...shownOutput("err", err) };
  });
}

function agentRoute(method: "GET" | "POST", name: string, kind: AgentKind, params: Specs, run: Route["run"]): Route {
  return { method, path: `nodes/{node}/qemu/{vmid}/agent/${name}`, allow: agentPerm(kind), params, run };
}

function osInfo(call: Call) {
  return ask(call, (_, vm) => {
    const machine = call.dc.imageOf(vm);
    const pretty = machine?.osImage ?? "";
    return {
      result: {
        id: pretty.split(" ")[0]?.toLowerCase() ?? "",
        name: pretty.split(" ")[0] ?? "",
        "pretty-name": pretty,
        version: pretty.split(" ").slice(1).join(" "),
        "version-id": /\d+\.\d+/.exec(pretty)?.[0] ?? "",
        machine: "x86_64",
        "kernel-release": machine?.kernel ?? "",
        "kernel-version": "#1 SMP PREEMPT_DYNAMIC",
      },
    };
  });
}

export const vmAgentRoutes: Route[] = [
  agentRoute("POST", "ping", "Audit", {}, (call) => ask(call, () => ({ result: {} }))),
  agentRoute("GET", "network-get-interfaces", "Audit", {}, (call) => ask(call, interfaces)),
  agentRoute("GET", "get-host-name", "Audit", {}, (call) =>
    ask(call, (_, vm) => ({ result: { "host-name": String(vm.config.get("name") ?? "") } })),
  ),
  agentRoute("GET", "get-osinfo", "Audit", {}, osInfo),
  agentRoute("GET", "file-read", "FileRead", { file: { type: "string", required: true } }, (call) =>
    ask(call, (guest) => readFile(call, guest)),
  ),
  agentRoute(
    "POST",
    "file-write",
    "FileWrite",
    {
      file: { type: "string", required: true },
      content: { type: "string", required: true, maxLength: maxContent },
      encode: spec.flag,
    },
    writeFile,
  ),
  agentRoute(
    "POST",
    "exec",
    "Unrestricted",
    { command: { type: "list", required: true }, "input-data": { type: "string", maxLength: maxInput } },
    exec,
  ),
  agentRoute("GET", "exec-status", "Unrestricted", { pid: { type: "integer", required: true } }, execStatus),
];
