import { addCondition, holdDaemon, restart, setReady, soakingUnwatched } from "./causes.ts";
import { arriving, plays, type Case } from "./verdict-case.ts";

/** Causes in the arriving node. */
const guilty: Case[] = [
  { when: "its nodes never get Ready", image: "never-ready", says: /to be Ready/ },
  { when: "its guests never answer", image: "no-agent", says: /the guest agent of/ },
  {
    when: "its nodes never register, and a server answers where they do",
    happens: ({ world }) => void (world.cluster.nodes.register = () => false),
    says: /it never registered/,
  },
  {
    when: "a daemon of its node gets no volume, of which the kubelet warns",
    happens: (stage) => holdDaemon(stage, { type: "Warning", reason: "FailedMount" }),
    says: /kube-system\/rke2-canal-\S+ is not Ready/,
  },
  {
    when: "its node says itself that it is not Ready, right before its predecessor would leave",
    happens: async (stage) => {
      const { name } = await arriving(stage, "joined");
      setReady(stage, name, "False");
    },
    says: /does not serve, so nobody leaves its slot: Ready is False/,
  },
  {
    when: "its node has no memory left right before its predecessor would leave, without any pod of others",
    happens: async (stage) => {
      const { name } = await arriving(stage, "joined");
      addCondition(stage, name, { type: "MemoryPressure", status: "True" });
    },
    says: /does not serve, so nobody leaves its slot: MemoryPressure is True/,
  },
  {
    when: "its node was not Ready for a moment in its soak",
    soakSeconds: 60,
    happens: async (stage) => {
      const { name } = await arriving(stage, "soaking");
      setReady(stage, name, "False");
    },
    says: /did not hold/,
  },
  {
    when: "a daemon of its node restarts in its soak, and on no other node",
    soakSeconds: 60,
    happens: async (stage) => {
      const { name } = await arriving(stage, "soaking");
      await stage.world.time.sleep(5_000);
      restart(stage, [name]);
    },
    says: /did not hold: restarted during the soak: kube-system\/kube-proxy-/,
  },
  {
    when: "nothing is heard of its node in its soak, and another one on its host is heard",
    soakSeconds: 60,
    happens: async (stage) => {
      const { name } = await arriving(stage, "soaking");
      await stage.world.time.sleep(5_000);
      setReady(stage, name, "Unknown");
    },
    says: /did not hold: demo-workers-\d-\w+ is not Ready: Ready is Unknown/,
  },
  {
    when: "its node restarts in its soak, and is Ready all the while",
    soakSeconds: 60,
    happens: async (stage) => {
      const { name } = await arriving(stage, "soaking");
      await stage.world.time.sleep(5_000);
      const { objects } = stage.world.cluster;
      const node = objects.get("nodes", name);
      const nodeInfo = { ...(node?.status?.nodeInfo as object), bootID: "another" };
      if (node) objects.put("nodes", { ...node, status: { ...node.status, nodeInfo } });
    },
    says: /did not hold: demo-workers-\d-\w+ restarted/,
  },
  {
    when: "its node is not Ready at the end of a soak in which nobody could watch it",
    soakSeconds: 60,
    happens: async (stage) => {
      const { name } = await soakingUnwatched(stage);
      setReady(stage, name, "False");
    },
    says: /did not hold: demo-workers-\d-\w+ is not Ready/,
  },
];

describe("a generation, by what its nodes do", function () {
  this.timeout(60_000);
  for (const one of guilty) it(`is judged when ${one.when}`, () => plays(one, true));
});
