import type { Answer, Call } from "./wire.ts";
import type { World } from "./world.ts";

/** A driver that sees nothing in the configuration of a VM that tells of a cluster. */
export function withoutSigns({ honest }: World): (call: Call) => Answer {
  return (call) => {
    const answer = honest(call);
    const isRead = call.api === "pve" && call.method === "GET" && call.path.endsWith("/config");
    if (!isRead || answer.status !== 200) return answer;
    const { data } = JSON.parse(answer.body ?? "") as { data: Record<string, unknown> };
    const tags = String(data.tags)
      .split(";")
      .filter((tag) => tag !== "eg-member")
      .join(";");
    const blind = { ...data, onboot: 0, description: "", tags };
    return { ...answer, body: JSON.stringify({ data: blind }) };
  };
}
