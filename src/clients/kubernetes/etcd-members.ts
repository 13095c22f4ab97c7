import { request } from "undici";
import type { NodeAddresses } from "../../domain/model/types.ts";
import { connections } from "../../runtime/connections.ts";
import { UserError } from "../../runtime/errors.ts";
import { sendRetrying } from "../retry.ts";
import type { Access } from "./access.ts";
import { KubernetesUnreachable } from "./errors.ts";
import { authorizationOf, type ServerToken } from "./server-token.ts";
import { supervisorAt } from "./urls.ts";

/** A member of etcd, as etcd itself lists it. */
export interface EtcdMember {
  /** Name of the member's Node; the host of its peer address if the member has never started. */
  node: string;
  /** Its own name: that of its Node and eight hex digits. Undefined: it has never started. */
  name?: string;
  learner: boolean;
  /** Whether the member has ever started. */
  started: boolean;
}

/**
 * Reads the members of etcd from RKE2's supervisor, as a joining server does (GET /db/info; k3s, pkg/etcd/etcd.go): the
 * Nodes do not show a member that has no Node.
 * @throws UserError when the answer is not a list of members
 */
export async function readMembers(
  { ca }: Pick<Access, "ca">,
  registrationAddress: string,
  token: ServerToken,
  signal: AbortSignal,
): Promise<EtcdMember[]> {
  const url = `${supervisorAt(registrationAddress)}/db/info`;
  // Callers poll: one lost answer must not use up all of their time.
  const agent = connections({ connect: { ca, timeout: 5_000 }, headersTimeout: 15_000, bodyTimeout: 15_000 });
  try {
    const headers = { authorization: authorizationOf(token) };
    const answer = await request(url, { dispatcher: agent, headers, signal });
    const text = await answer.body.text();
    const members = answer.statusCode === 200 ? parseMembers(text) : undefined;
    if (members) return members;
    throw notUnderstood(`${answer.statusCode} to GET ${url}`);
  } finally {
    await agent.destroy();
  }
}

/**
 * The same for a look that nobody repeats: tried again while no server answers, such as right after one has left.
 * @throws UserError as above, KubernetesUnreachable
 */
export async function readMembersRetrying(...args: Parameters<typeof readMembers>): Promise<EtcdMember[]> {
  const server = supervisorAt(args[1]);
  return await sendRetrying({
    title: "RKE2: GET /db/info",
    send: () => readMembers(...args),
    isRepeatable: true,
    isTransient: () => false,
    pauseMs: 250,
    unreachable: (attempts, cause) => new KubernetesUnreachable(server, "GET", "/db/info", attempts, cause),
  });
}

function notUnderstood(where: string): UserError {
  return new UserError({
    what: "RKE2 does not say who the members of etcd are",
    where,
    todo: "look at rke2-server on the servers; nothing is changed before the members are known",
  });
}

/**
 * @returns undefined when the text is not what k3s answers; also for an empty list, because the server that answers is
 * a member
 */
export function parseMembers(text: string): EtcdMember[] | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  const { members } = (value ?? {}) as { members?: unknown };
  if (!Array.isArray(members) || members.length === 0) return undefined;
  const found = (members as Record<string, unknown>[]).map(memberOf);
  return found.includes(undefined) ? undefined : found.flatMap((one) => one ?? []);
}

/** What etcd's list of members may call a node: its name, or an address when the member has never started. */
export function mayBeCalled(
  { address, address6 }: Partial<Record<keyof NodeAddresses, string | undefined>>,
  node: string,
): readonly string[] {
  return [node, address ?? [], address6 ?? []].flat();
}

/** The host of a URL: of an IPv6 address without its brackets. */
const hostIn = (url: string): string => new URL(url).hostname.replace(/^\[(.*)\]$/, "$1");

function memberOf({ name = "", isLearner = false, peerURLs = [] }: Record<string, unknown>): EtcdMember | undefined {
  if (typeof name !== "string" || typeof isLearner !== "boolean" || !Array.isArray(peerURLs)) return undefined;
  // RKE2 names a member after its Node, followed by a dash and eight hex digits.
  const node = name.replace(/-[0-9a-f]{8}$/, "");
  const address = String(peerURLs[0]);
  if (name === "" && !URL.canParse(address)) return undefined;
  if (name === "") return { node: hostIn(address), learner: isLearner, started: false };
  return { node, name, learner: isLearner, started: true };
}
