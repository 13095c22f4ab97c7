import { deployBroken, restart, setReady, setVersion, soakingUnwatched } from "./causes.ts";
import { arriving, plays, type Case } from "./verdict-case.ts";

/** Causes outside the arriving node, in its soak. */
const innocent: Case[] = [
  {
    when: "its VM loses its power in its soak",
    soakSeconds: 60,
    happens: async (stage) => stage.world.dc.powerCut(await arriving(stage, "soaking")),
    says: /the soak of generation \w+ was disturbed: .*VM 1102 on pve2 does not run/,
  },
  {
    when: "its VM loses its power in its soak, and is started again at once",
    soakSeconds: 60,
    happens: async (stage) => {
      const { world } = stage;
      const vm = await arriving(stage, "soaking");
      world.dc.powerCut(vm);
      world.time.after(5_000, () => world.dc.powerOn(vm));
    },
    says: /was disturbed: .* restarted.*VM 1102 on pve2 was started or migrated \d+ s ago/,
  },
  {
    when: "somebody deletes its Node in its soak",
    soakSeconds: 60,
    happens: async (stage) => {
      const { name } = await arriving(stage, "soaking");
      stage.world.cluster.objects.remove("nodes", name);
    },
    says: /was disturbed: .* has left the cluster/,
  },
  {
    when: "somebody deletes its Node in its soak, and it registers anew while nobody can watch",
    soakSeconds: 60,
    happens: async (stage) => {
      const { name } = await soakingUnwatched(stage);
      const { objects } = stage.world.cluster;
      const node = objects.get("nodes", name);
      objects.remove("nodes", name);
      const { labels } = node?.metadata ?? {};
      objects.put("nodes", { ...node, metadata: { name, ...(labels ? { labels } : {}) } });
      setReady(stage, name, "True");
    },
    says: /was disturbed: .* has left the cluster/,
  },
  {
    when: "the API was away for a part of its soak",
    soakSeconds: 60,
    happens: async (stage) => {
      const { cluster, time } = stage.world;
      const { name } = await arriving(stage, "soaking");
      await time.sleep(5_000);
      const back = cluster.control.goAway();
      await time.sleep(9_000);
      back();
      setReady(stage, name, "False");
    },
    says: /was disturbed: .* is not Ready.*the cluster's API gave no answer for \d+ s of that time/,
  },
  {
    when: "a daemon restarts in its soak on the other nodes as well",
    soakSeconds: 60,
    happens: async (stage) => {
      await arriving(stage, "soaking");
      await stage.world.time.sleep(5_000);
      restart(stage, stage.world.cluster.nodes.names());
    },
    says: /^$/,
  },
  {
    when: "a daemon restarts in its soak that is Ready on no node",
    soakSeconds: 60,
    happens: async (stage) => {
      await deployBroken(stage);
      const { name } = await arriving(stage, "soaking");
      await stage.world.time.sleep(5_000);
      restart(stage, [name], "broken");
    },
    says: /^$/,
  },
  {
    when: "a daemon restarts in its soak that is of a new version there, and of the old one on the other nodes",
    soakSeconds: 60,
    happens: async (stage) => {
      const { name } = await arriving(stage, "soaking");
      for (const node of stage.world.cluster.nodes.names())
        setVersion(stage, node, node.startsWith("demo-servers-") ? "old" : "new");
      await stage.world.time.sleep(5_000);
      restart(stage, [name]);
    },
    says: /was disturbed: restarted during the soak: kube-system\/kube-proxy-.*of a new version of the DaemonSet/,
  },
];

describe("a generation in its soak, by what others do", function () {
  this.timeout(60_000);
  for (const one of innocent) it(`is not judged when ${one.when}`, () => plays(one, false));
});
