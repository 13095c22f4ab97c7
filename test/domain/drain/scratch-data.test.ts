import assert from "node:assert/strict";
import { scratchWords, type ScratchPod } from "../../../src/domain/drain/scratch-data.ts";

type Volumes = NonNullable<NonNullable<ScratchPod["spec"]>["volumes"]>;

function pod(name: string, volumes: Volumes, readOnly = false, kind = "ReplicaSet"): ScratchPod {
  return {
    metadata: { namespace: "shop", name, ownerReferences: [{ kind, name: "web", uid: "u", controller: true }] },
    spec: {
      nodeName: "worker-1",
      volumes,
      containers: [{ volumeMounts: volumes.map((volume) => ({ name: volume.name, readOnly })) }],
    },
  };
}

const emptyDir = (more: object = {}): Volumes => [{ name: "tmp", emptyDir: more }];
const hostPath = (type?: string): Volumes => [
  { name: "host", hostPath: { path: "/srv/data", ...(type === undefined ? {} : { type }) } },
];

const table: [string, ScratchPod, string[]][] = [
  ["an emptyDir", pod("a", emptyDir()), ["1 has an emptyDir on its disk (shop/a)"]],
  [
    "an emptyDir with a limit",
    pod("a", emptyDir({ sizeLimit: "2Gi" })),
    ["1 has an emptyDir on its disk (shop/a up to 2Gi)"],
  ],
  ["an emptyDir in memory", pod("a", emptyDir({ medium: "Memory" })), []],
  [
    "a volume that is made for it",
    pod("a", [{ name: "v", ephemeral: {} }]),
    ["1 has an emptyDir on its disk (shop/a)"],
  ],
  ["a hostPath that it writes to", pod("a", hostPath()), ["1 writes to a hostPath (shop/a /srv/data)"]],
  ["a hostPath that it only reads", pod("a", hostPath(), true), []],
  ["a socket", pod("a", hostPath("Socket")), []],
  ["an emptyDir, and is a daemon that comes back at once", pod("a", emptyDir(), false, "DaemonSet"), []],
];

describe("what pods that leave a node lose", () => {
  for (const [title, one, parts] of table)
    it(`is ${parts.length > 0 ? "named" : "nothing"} when a pod has ${title}`, () => {
      const words = parts.map((part) => `what pods of worker-1 leave there is lost to them: ${part}`);
      assert.deepEqual(scratchWords("worker-1", [one]), words);
    });

  it("is one line a node, with the biggest first and how many more there are", () => {
    const pods = ["1Gi", "20Mi", "3Gi", "2000M"].map((sizeLimit, i) => pod(`p${i}`, emptyDir({ sizeLimit })));
    assert.deepEqual(scratchWords("worker-1", [...pods, pod("q", hostPath())]), [
      "what pods of worker-1 leave there is lost to them: 4 have an emptyDir on its disk (shop/p2 up to 3Gi, shop/p3 up to 2000M, shop/p0 up to 1Gi and 1 more); 1 writes to a hostPath (shop/q /srv/data)",
    ]);
  });
});
