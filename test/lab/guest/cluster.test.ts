import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { reachable } from "../../../lab/pod-network.ts";
import type { Guest, Machine } from "../../../lab/types.ts";
import { joinLog, TestRack } from "./support.ts";
import type { Pod } from "./support.ts";

const port = 8080;

describe("guests of a cluster", function () {
  this.timeout(180_000);
  let lab: TestRack;
  let serverToken: string;
  let caHash: string;
  let server: { machine: Machine; guest: Guest };
  const agents: { machine: Machine; guest: Guest }[] = [];

  const agentToken = async (seconds?: number) => `K10${caHash}::${await lab.mint(seconds)}`;
  const addAgent = async (machine: Machine, more?: object) => {
    const guest = await lab.join(machine, "agent", await agentToken(), more);
    agents.push({ machine, guest });
    return guest;
  };
  /** An agent that is told to join and will not. */
  const refused = async (machine: Machine, token: string) => {
    const guest = await lab.boot(machine);
    lab.order(guest, "agent", { server: lab.supervisor, token, "node-name": machine.name });
    return guest;
  };
  const ask = (pod: Pod) =>
    fetch(`http://${reachable(pod.status.podIP ?? "")}:${port}/`).then(
      (answer) => answer.json() as Promise<{ pod: string; node: string }>,
    );

  before(async () => {
    lab = await TestRack.start("127.60");
    const machine = lab.machine(1000, "demo-servers-0-aaaaaaaa");
    const guest = await lab.join(machine, "server", undefined, { "node-taint": ["CriticalAddonsOnly=true:NoExecute"] });
    server = { machine, guest };
    serverToken = guest.readFile("/var/lib/rancher/rke2/server/token").toString().trim();
    caHash = /^K10([0-9a-f]{64})::server:/.exec(serverToken)?.[1] ?? "";
    const label = { "node-label": ["evergreen.dev/pool=workers"] };
    await Promise.all([
      addAgent(lab.machine(1100, "demo-workers-0-aaaaaaaa"), label),
      addAgent(lab.machine(1101, "demo-workers-1-aaaaaaaa", { kernel: "6.8.0-71-generic" }), label),
    ]);
  });

  after(async () => {
    await lab.close();
    assert.deepEqual(lab.rack.pids, []);
  });

  it("tells the truth about itself in its Node", async () => {
    const { machine } = server;
    const taints = async () =>
      (await lab.node(machine.name))?.spec.taints?.map(({ key, effect }) => `${key}:${effect}`);
    // Kubernetes itself taints a node until it has seen it Ready.
    await lab.until(
      "the taint of the join data alone",
      async () => String(await taints()) === "CriticalAddonsOnly:NoExecute",
    );
    const node = await lab.node(machine.name);
    assert.equal(node?.status.nodeInfo.systemUUID, machine.uuid);
    assert.equal(node.metadata.labels?.["node-role.kubernetes.io/control-plane"], "true");
    assert.equal(node.metadata.labels["node-role.kubernetes.io/etcd"], "true");
    const voter = node.status.conditions.find(({ type }) => type === "EtcdIsVoter");
    assert.deepEqual([voter?.status, voter?.reason], ["True", "MemberNotLearner"]);
    const agent = await lab.node("demo-workers-1-aaaaaaaa");
    assert.equal(agent?.status.nodeInfo.kernelVersion, "6.8.0-71-generic");
    assert.equal(agent.status.nodeInfo.kubeletVersion, "v1.34.4+rke2r1");
    assert.equal((await lab.node("demo-workers-0-aaaaaaaa"))?.metadata.labels?.["evergreen.dev/pool"], "workers");
  });

  it("gives the token the hash of the CA that the kubeconfig carries", () => {
    const kubeconfig = server.guest.readFile("/etc/rancher/rke2/rke2.yaml").toString();
    assert.match(kubeconfig, /server: https:\/\/127\.0\.0\.1:6443/);
    const ca = /certificate-authority-data: (\S+)/.exec(kubeconfig)?.[1] ?? "";
    assert.equal(createHash("sha256").update(Buffer.from(ca, "base64")).digest("hex"), caHash);
  });

  it("refuses a wrong token, an expired one and a wrong CA hash, and says so in the join log", async () => {
    const [wrong, expired, foreign] = await Promise.all([
      refused(lab.machine(1110, "bad-token"), `K10${caHash}::abcdef.0123456789abcdef`),
      refused(lab.machine(1111, "old-token"), await agentToken(-5)),
      refused(lab.machine(1112, "bad-hash"), `K10${"0".repeat(64)}::${await lab.mint()}`),
    ]);
    await lab.logged(wrong, "401 Unauthorized");
    await lab.logged(expired, "401 Unauthorized");
    await lab.logged(
      foreign,
      `token CA hash does not match the Cluster CA certificate hash: ${"0".repeat(64)} != ${caHash}`,
    );
    for (const name of ["bad-token", "old-token", "bad-hash"]) assert.equal(await lab.node(name), undefined);
    // The service goes on trying: good join data mends it.
    lab.order(wrong, "agent", { server: lab.supervisor, token: await agentToken(), "node-name": "bad-token" });
    await lab.ready("bad-token");
    for (const guest of [wrong, expired, foreign]) {
      assert.doesNotMatch(guest.readFile(joinLog).toString(), /0123456789abcdef|::/);
      await guest.powerOff();
    }
  });

  it("does not let another machine take a name, until the Node and its password are gone", async () => {
    const name = "demo-workers-9-aaaaaaaa";
    const first = await lab.join(lab.machine(1120, name), "agent", await agentToken());
    await first.powerOff();
    const second = await refused(lab.machine(1121, name), await agentToken());
    await lab.logged(second, "Node password rejected, duplicate hostname or contents of '/etc/rancher/node/password'");
    await lab.kube.call("DELETE", `/api/v1/nodes/${name}`);
    await lab.ready(name);
    await second.powerOff();
  });

  it("starts nothing when the marker does not fit the join data", async () => {
    const guest = await lab.boot(lab.machine(1130, "half-written"));
    guest.writeFile("/etc/evergreen/join.yaml", Buffer.from("token: x\n"));
    guest.writeFile("/etc/evergreen/join.ready", Buffer.from(`agent ${"0".repeat(64)}\n`));
    await lab.logged(guest, "join.yaml does not have the hash that join.ready names");
    assert.equal(guest.readFile(joinLog).toString().includes("starting"), false);
    await guest.powerOff();
  });

  it("runs pods that answer, lets them serve while they end, and ends them with the power", async () => {
    const template = {
      metadata: { labels: { app: "web" } },
      spec: {
        nodeSelector: { "evergreen.dev/pool": "workers" },
        containers: [{ name: "web", image: "web:1", ports: [{ containerPort: port }] }],
      },
    };
    const spec = { replicas: 4, selector: { matchLabels: { app: "web" } }, template };
    const created = await lab.kube.call("POST", "/apis/apps/v1/namespaces/default/deployments", {
      metadata: { name: "web" },
      spec,
    });
    assert.equal(created.status, 201);
    const running = async () =>
      (await lab.pods("app=web")).filter(
        ({ status, metadata }) => status.phase === "Running" && !metadata.deletionTimestamp,
      );
    await lab.until("four pods", async () => (await running()).length === 4);
    const pods = await running();
    for (const pod of pods) {
      const answer = await ask(pod);
      assert.deepEqual([answer.pod, answer.node], [pod.metadata.name, pod.spec.nodeName]);
    }
    const [victim] = pods;
    assert.ok(victim);
    const path = `/api/v1/namespaces/default/pods/${victim.metadata.name}`;
    await lab.kube.call("DELETE", path);
    assert.equal((await ask(victim)).pod, victim.metadata.name, "serves on after SIGTERM");
    await lab.until("the pod to be gone", async () => (await lab.kube.call("GET", path)).status === 404);
    await assert.rejects(ask(victim));

    await lab.until("four pods again", async () => (await running()).length === 4);
    const [agent] = agents;
    assert.ok(agent);
    const here = (await running()).filter(({ spec }) => spec.nodeName === agent.machine.name);
    assert.ok(here.length > 0);
    await agent.guest.powerOff();
    for (const pod of here) await assert.rejects(ask(pod));

    // A power cycle without a wipe: the same Node and the same pods, whose containers have been started again.
    agent.guest = await lab.boot(agent.machine);
    await lab.until("the pods to be back", async () => {
      const back = await running();
      return here.every((pod) =>
        back.some(
          ({ metadata, status }) =>
            metadata.uid === pod.metadata.uid &&
            status.containerStatuses?.[0]?.restartCount === 1 &&
            status.containerStatuses[0].ready,
        ),
      );
    });
    for (const pod of here) assert.equal((await ask(pod)).pod, pod.metadata.name);
  });

  it("does not rejoin after a wipe", async () => {
    const machine = lab.machine(1140, "wiped");
    const guest = await lab.join(machine, "agent", await agentToken());
    lab.wipe(guest);
    await lab.logged(guest, "join data wiped");
    for (const path of ["/etc/rancher/node/password", "/etc/rancher/rke2/config.yaml.d/90-evergreen.yaml"]) {
      assert.throws(() => guest.readFile(path), /No such file/);
    }
    await guest.shutdown();
    await lab.kube.call("DELETE", "/api/v1/nodes/wiped");
    const again = await lab.boot(machine);
    // Time enough: another agent boots and joins meanwhile.
    await (await lab.join(lab.machine(1141, "meanwhile"), "agent", await agentToken())).powerOff();
    assert.equal(await lab.node("wiped"), undefined);
    assert.doesNotMatch(again.readFile(joinLog).toString(), /wiped, RKE2 stopped[^]*starting/);
    // With fresh join data it is a node like any other: that is how a rollout goes back.
    lab.order(again, "agent", { server: lab.supervisor, token: await agentToken(), "node-name": "wiped" });
    await lab.ready("wiped");
    await again.powerOff();
  });

  it("rejoins with its certificate as long as its Node exists, else needs a valid token", async () => {
    const machine = lab.machine(1150, "cycled");
    const token = await lab.mint();
    const guest = await lab.join(machine, "agent", `K10${caHash}::${token}`);
    await lab.kube.call(
      "DELETE",
      `/api/v1/namespaces/kube-system/secrets/bootstrap-token-${token.split(".")[0] ?? ""}`,
    );
    const joins = () => lab.events.filter(({ kind, vmid }) => kind === "joined" && vmid === machine.vmid).length;
    await guest.shutdown();
    const second = await lab.boot(machine);
    await lab.until("a second join", () => Promise.resolve(joins() === 2));
    await second.powerOff();
    await lab.kube.call("DELETE", "/api/v1/nodes/cycled");
    const third = await lab.boot(machine);
    await lab.logged(third, "401 Unauthorized");
    await third.powerOff();
  });

  it("honours the faults of an image", async () => {
    const [, liar, broken] = await Promise.all([
      lab.boot(lab.machine(1160, "mute", { fault: "never-ready" })).then(async (guest) => {
        lab.order(guest, "agent", { server: lab.supervisor, token: await agentToken(), "node-name": "mute" });
        await lab.ready("mute", "False");
      }),
      lab.join(lab.machine(1161, "liar", { fault: "wrong-kubelet" }), "agent", await agentToken()),
      lab.join(lab.machine(1162, "broken", { fault: "crash-after-ready" }), "agent", await agentToken()),
    ]);
    assert.equal((await lab.node("liar"))?.status.nodeInfo.kubeletVersion, "v1.34.3+rke2r1");
    await lab.ready("broken", "False");
    const mute = await lab.node("mute");
    assert.equal(mute?.status.conditions.find(({ type }) => type === "Ready")?.reason, "KubeletNotReady");
    await Promise.all([liar.powerOff(), broken.powerOff()]);
  });

  it("adds two servers one after the other, keeps their data over a power cycle and removes one by annotation", async () => {
    const bad = await lab.boot(lab.machine(1005, "bad-server"));
    lab.order(bad, "server", {
      server: lab.supervisor,
      token: `K10${caHash}::server:wrong`,
      "node-name": "bad-server",
    });
    await lab.logged(bad, "server-bootstrap: 401 Unauthorized");
    await bad.powerOff();

    const machines = [1001, 1002].map((vmid) => lab.machine(vmid, `demo-servers-${vmid - 1000}-aaaaaaaa`));
    const guests: Guest[] = [];
    for (const machine of machines) guests.push(await lab.join(machine, "server", serverToken));
    const facts = async () =>
      (await lab.rack.members()).map(({ node, learner, healthy }) => ({ node, learner, healthy }));
    const names = [server.machine, ...machines].map(({ name }) => name);
    const member = (node: string) => ({ node, learner: false, healthy: true });
    assert.deepEqual(new Set(await facts()), new Set(names.map(member)));
    assert.equal(lab.rack.apiServers.length, 3);

    const [second, third] = machines;
    assert.ok(second && third && guests[1]);
    await guests[1].powerOff();
    assert.equal((await facts()).find(({ node }) => node === third.name)?.healthy, false);
    await lab.boot(third);
    await lab.until(
      "all three again",
      async () => (await facts()).every(({ healthy }) => healthy) && lab.rack.apiServers.length === 3,
    );

    // A connection may lead to a server that has just left.
    const remove = { metadata: { annotations: { "etcd.rke2.cattle.io/remove": "true" } } };
    await lab.until("the annotation", async () => {
      const { status } = await lab.kube.call("PATCH", `/api/v1/nodes/${second.name}`, remove);
      return status === 200;
    });
    await lab.until("the member to be removed", async () => {
      const annotations = (await lab.node(second.name))?.metadata.annotations ?? {};
      return (
        annotations["etcd.rke2.cattle.io/removed-node-name"] !== undefined &&
        annotations["etcd.rke2.cattle.io/node-name"] === undefined
      );
    });
    await lab.until("two healthy members", async () => {
      const now = await facts();
      return now.length === 2 && now.every(({ node, healthy }) => node !== second.name && healthy);
    });
    assert.equal(lab.rack.apiServers.length, 2);

    // Deleting the Node of a server removes its member as well.
    await lab.until("the Node to be deleted", async () => {
      const { status } = await lab.kube.call("DELETE", `/api/v1/nodes/${third.name}`);
      return status === 200 || status === 404;
    });
    await lab.until("one member", async () => (await facts()).length === 1);
    await lab.until("the Node to be gone", async () => (await lab.node(third.name)) === undefined);
  });
});
