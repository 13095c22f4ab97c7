import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { syncBuiltinESMExports } from "node:module";
import os, { hostname } from "node:os";
import { join } from "node:path";
import { Deadline } from "../../../src/runtime/deadline.ts";
import { noteHeld } from "../../../src/runtime/engine-notes.ts";
import { identify, type ProcessIdentity } from "../../../src/runtime/process-identity.ts";
import { Kubernetes } from "../../../src/clients/kubernetes/client.ts";
import { startKeeper } from "../../../src/clients/kubernetes/keeper.ts";
import { LeaseLost } from "../../../src/clients/kubernetes/lease.ts";
import { holderOf, holdRun, joinRun } from "../../../src/clients/kubernetes/run-lease.ts";
import { paths } from "../../../src/clients/kubernetes/types.ts";
import { bundle } from "../../../tools/bundle.mjs";
import { projectRoot } from "../../../src/runtime/project.ts";
import { HttpProxy, setProxies } from "../../support/http-proxy.ts";
import { processBelow } from "../../e2e/processes.ts";
import { freshCluster, type FakeCluster } from "./fake.ts";

const path = `${paths.leases}/update`;
const self = identify(process.pid);
assert.ok(self);
const nobody: ProcessIdentity = { ...self, pid: 2 ** 22 + 1 };

describe("the holder of the lease of an update", () => {
  const { userInfo } = os;
  afterEach(() => {
    os.userInfo = userInfo;
    syncBuiltinESMExports();
  });

  it("is named also in a container whose user has no name, where an engine is noted as well", () => {
    os.userInfo = () => {
      throw new Error("uv_os_get_passwd returned ENOENT");
    };
    syncBuiltinESMExports();
    assert.match(holderOf(self), /^uid-\d+@/);
    noteHeld(nobody, "demo");
  });
});

describe("the lease of an update", () => {
  let cluster: FakeCluster;
  let client: Kubernetes;
  freshCluster((fresh, itsClient) => ([cluster, client] = [fresh, itsClient]));
  const children: ChildProcess[] = [];
  afterEach(() => {
    for (const child of children.splice(0)) child.kill("SIGKILL");
  });

  const held = (holderIdentity: string, leaseDurationSeconds = 15) =>
    cluster.put(paths.leases, {
      metadata: { name: "update" },
      spec: { holderIdentity, leaseDurationSeconds, renewTime: new Date().toISOString() },
    });
  const holder = () => (cluster.objects.get(path)?.spec as { holderIdentity?: string } | undefined)?.holderIdentity;
  /** A process that stands for an engine. */
  const engine = async (command = "sleep 60"): Promise<{ child: ChildProcess; who: ProcessIdentity }> => {
    const child = spawn("sh", ["-c", command], { stdio: ["ignore", "pipe", "inherit"] });
    children.push(child);
    await once(child, "spawn");
    const who = identify(child.pid ?? 0);
    assert.ok(who);
    return { child, who };
  };
  const until = (what: string, isSo: () => boolean) =>
    new Deadline(what, 60).poll(
      20,
      () => Promise.resolve(isSo() ? true : undefined),
      () => holder() ?? "free",
    );

  it("names who updates the cluster and where its pid counts, and goes when it is released", async () => {
    const lease = await holdRun(client, "demo", self);
    const place = `\\(process ${process.pid}\\.${self.start} in [0-9a-f]{16}\\)`;
    assert.match(holder() ?? "", new RegExp(`^[^@]+@${hostname()} ${place}$`));
    await lease.release();
    assert.equal(holder(), undefined);
  });

  const dead: [string, ProcessIdentity][] = [
    ["is gone", nobody],
    ["has its pid no more: a younger one has it", { ...self, start: self.start - 1 }],
  ];
  for (const [title, who] of dead) {
    it(`of a process of this place that ${title} is taken over at once`, async () => {
      held(holderOf(who));
      await (await holdRun(client, "demo", self, {}, 0.5)).release();
    });
  }

  it("of a dead process is left to another run that was quicker, and is not deleted a second time", async () => {
    held(holderOf(nobody));
    cluster.hook = ({ method }) => {
      if (method === "DELETE" && holder() === holderOf(nobody)) {
        cluster.remove(path);
        held("root@elsewhere (another run)");
      }
      return undefined;
    };
    await assert.rejects(holdRun(client, "demo", self, {}, 0.5), /update is held by root@elsewhere/);
    assert.equal(holder(), "root@elsewhere (another run)");
  });

  const keepers: [string, () => string][] = [
    ["a process of this place that lives", () => holderOf({ ...self, ...identify(process.ppid) })],
    ["another pid namespace, where our pids say nothing", () => holderOf({ ...nobody, scope: "0123456789abcdef" })],
    ["another machine of the same name, as an older Evergreen writes it", () => `root@${hostname()} (process 4194305)`],
  ];
  for (const [title, who] of keepers) {
    it(`of ${title} refuses a second update, by the name of its holder`, async () => {
      held(who());
      const refused = holdRun(client, "demo", self, {}, 0.5);
      await assert.rejects(refused, /another update of the cluster demo is running\n {2}where: update is held by \w+@/);
      assert.equal(holder(), who());
    });
  }

  it("of another place is taken over once nobody has renewed it for its whole life", async () => {
    held(holderOf({ ...nobody, scope: "0123456789abcdef" }), 1);
    await (await holdRun(client, "demo", self, {}, 5)).release();
  });

  it("of a process that is known to live is not taken over, though nobody renews it", async () => {
    held(holderOf({ ...self, ...identify(process.ppid) }), 0.2);
    await assert.rejects(holdRun(client, "demo", self, {}, 1.5), /another update/);
  });

  it("is not stolen by a process of another pid namespace, which sees no process of its holder", async () => {
    const lease = await holdRun(client, "demo", self);
    const program = [
      `const { Kubernetes } = await import("${projectRoot}/src/clients/kubernetes/client.ts");`,
      `const { holdRun } = await import("${projectRoot}/src/clients/kubernetes/run-lease.ts");`,
      `const { identify } = await import("${projectRoot}/src/runtime/process-identity.ts");`,
      `const client = new Kubernetes({ server: "${client.server}" });`,
      `await holdRun(client, "demo", identify(process.pid), {}, 1).then(() => console.log("stolen"), (error) => console.log(error.message));`,
      "process.exit(0);",
    ].join("\n");
    const unshare = ["--user", "--map-root-user", "--pid", "--fork", "--mount-proc"];
    const child = spawn("unshare", [...unshare, process.execPath, "--input-type=module", "-e", program]);
    children.push(child);
    let output = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (text: Buffer) => (output += text.toString()));
    await once(child, "close");
    assert.match(output, /^another update of the cluster demo is running$/m, output);
    assert.equal(holder(), holderOf(self));
    await lease.release();
  });

  describe("kept for an engine", function () {
    this.timeout(180_000);
    const script = join(projectRoot, "dist", "step.mjs");
    before(() => bundle());

    it("is renewed as long as the engine lives, and given back when it has gone", async () => {
      const { child, who } = await engine();
      await holdRun(client, "demo", who, { isKept: true });
      const lost: string[] = [];
      startKeeper(client, who, script, (why) => lost.push(why));
      await until("a renewal", () => cluster.count("PUT", /update$/) > 0);
      child.kill("SIGKILL");
      await until("the lease to be given back", () => holder() === undefined);
      assert.deepEqual(lost, []);
    });

    it("is renewed through the proxy that leads to the API", async () => {
      const { child, who } = await engine();
      const proxy = new HttpProxy(Number(new URL(client.server).port));
      const restore = setProxies({ HTTP_PROXY: await proxy.start(), NO_PROXY: "" });
      const behind = new Kubernetes({ ...client.config, server: "http://api.example:6443" }, 1);
      try {
        await holdRun(behind, "demo", who, { isKept: true });
        const lost: string[] = [];
        startKeeper(behind, who, script, (why) => lost.push(why));
        await until("a renewal", () => cluster.count("PUT", /update$/) > 0 || lost.length > 0);
        child.kill("SIGKILL");
        await until("the lease to be given back", () => holder() === undefined || lost.length > 0);
        assert.deepEqual(lost, []);
      } finally {
        restore();
        await behind.close();
        proxy.stop();
      }
    });

    it("is renewed on when a service manager tells all processes of its unit to stop: the engine takes its time", async () => {
      const { child, who } = await engine("trap : TERM; while :; do sleep 0.1; done");
      await holdRun(client, "demo", who, { isKept: true });
      const lost: string[] = [];
      startKeeper(client, who, script, (why) => lost.push(why));
      await until("a renewal", () => cluster.count("PUT", /update$/) > 0);
      process.kill(await processBelow(process.pid, /step\.mjs keep/), "SIGTERM");
      child.kill("SIGTERM");
      const renewals = cluster.count("PUT", /update$/);
      await until("another renewal", () => cluster.count("PUT", /update$/) > renewals);
      assert.deepEqual(lost, []);
      child.kill("SIGKILL");
      await until("the lease to be given back", () => holder() === undefined);
    });

    const ends: [string, (step: ChildProcess, slot: string) => void][] = [
      ["have given back what they had in hand", (_, slot) => cluster.objects.delete(slot)],
      ["are dead too, and give nothing back", (step) => step.kill("SIGKILL")],
    ];
    for (const [title, over] of ends) {
      it(`is kept for the steps of a killed engine until they ${title}`, async () => {
        const [{ child, who }, step] = [await engine(), await engine()];
        await holdRun(client, "demo", who, { isKept: true });
        const holderIdentity = `handover-${step.who.pid}-0123abcd`;
        cluster.put(paths.leases, { metadata: { name: "slot-workers-0" }, spec: { holderIdentity } });
        startKeeper(client, who, script);
        await until("a renewal", () => cluster.count("PUT", /update$/) > 0);
        child.kill("SIGKILL");
        const asked = cluster.count("GET", /leases$/);
        await until("two looks at the steps", () => cluster.count("GET", /leases$/) >= asked + 2);
        assert.equal(holder(), holderOf(who));
        over(step.child, `${paths.leases}/slot-workers-0`);
        await until("the lease to be given back", () => holder() === undefined);
      });
    }

    it("ends the engine as Ctrl-C does when somebody else has it, and says who", async () => {
      const { child, who } = await engine("trap 'echo interrupted; exit 3' INT; while :; do sleep 0.1; done");
      let said = "";
      child.stdout?.on("data", (text: Buffer) => (said += text.toString()));
      await holdRun(client, "demo", who, { isKept: true });
      const lost: string[] = [];
      startKeeper(client, who, script, (why) => lost.push(why));
      await until("a renewal", () => cluster.count("PUT", /update$/) > 0);
      held("root@elsewhere (process 1.1 in 0123456789abcdef)");
      const [code] = (await once(child, "exit")) as [number];
      assert.equal(code, 3);
      assert.equal(said, "interrupted\n");
      assert.match(lost.join(), /the lease update was lost: another process took it \(root@elsewhere/);
    });

    it("is lost when somebody else has it by the time that its keeper has started", async () => {
      const { child, who } = await engine("trap 'exit 3' INT; while :; do sleep 0.1; done");
      await holdRun(client, "demo", who, { isKept: true });
      held("root@elsewhere (process 1.1 in 0123456789abcdef)");
      const lost = new Promise<string>((resolve) => {
        startKeeper(client, who, script, resolve);
      });
      assert.match(await lost, /another process took it \(root@elsewhere/);
      if (child.exitCode === null) await once(child, "exit");
      assert.equal(child.exitCode, 3);
      assert.match(holder() ?? "", /^root@elsewhere/);
    });

    it("is missed by who started its keeper when the keeper ends before the engine", async () => {
      const { who } = await engine();
      await holdRun(client, "demo", who, { isKept: true });
      const lost = new Promise<string>((resolve) => {
        startKeeper(client, who, "/nowhere/step.mjs", resolve);
      });
      assert.match(await lost, /the process that keeps the lease update has ended.*exit code 1/s);
    });
  });

  describe("of the engine behind a step", () => {
    const join = (who: ProcessIdentity, kept: Kubernetes[] = []) =>
      joinRun(client, "demo", who, (its) => kept.push(its));

    it("is taken by the first step that meets an API, and kept from then on", async () => {
      const { who } = await engine();
      const kept: Kubernetes[] = [];
      const steps = await Promise.all([join(who, kept), join(who, kept), join(who, kept)]);
      assert.equal(holder(), holderOf(who));
      assert.ok(kept.length >= 1);
      for (const step of steps) await step.check();
    });

    it("stops a step whose engine has lost it, before its next effect", async () => {
      const { who } = await engine();
      const step = await join(who);
      held("root@elsewhere (process 1.1 in 0123456789abcdef)");
      // What a step was told a moment ago it may believe for half the life of a lease.
      await assert.rejects(join(who), /the lease update was lost: another run took it \(root@elsewhere/);
      await step.check();
    });

    it("is not taken anew by a step whose engine had it: somebody may have had it in between", async () => {
      const { who } = await engine();
      noteHeld(who, "demo");
      await assert.rejects(join(who), LeaseLost);
      assert.equal(holder(), undefined);
    });

    it("is taken by a step whose engine had that of another cluster only", async () => {
      const { who } = await engine();
      noteHeld(who, "other");
      await join(who);
      assert.equal(holder(), holderOf(who));
    });

    it("of another engine refuses the step", async () => {
      const [one, other] = [await engine(), await engine()];
      await holdRun(client, "demo", one.who);
      await assert.rejects(holdRun(client, "demo", other.who, { isKept: true }, 0.5), /another update/);
    });
  });
});
