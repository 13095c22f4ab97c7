import assert from "node:assert/strict";
import { guest } from "../../images/contract.ts";
import { filesOf } from "../../src/clients/proxmox/guest-registries.ts";
import type { Registries } from "../../src/domain/model/registries.ts";
import { status as refusal } from "./fault-kinds.ts";
import type { Stored } from "./objects.ts";
import { Stage, stageImages } from "./stage.ts";

const password = "a password of the registry";
const registriesWith = (secret: string, tls?: object): Registries => ({
  configs: { "registry.example.org": { auth: { username: "puller", password: secret }, ...(tls && { tls }) } },
});

const nodesOf = ({ world }: Stage) => [...world.dc.vms.values()].filter(({ owner }) => owner === "ours");

/** Has the unit of a guest begin this many milliseconds after it was told to restart RKE2. */
function delayReload(stage: Stage, vmid: number, ms: number): void {
  const { guest: own, disk } = stage.vm(vmid);
  assert.ok(own);
  const write = own.write.bind(own);
  own.write = (file, content) => {
    if (file === guest.registriesReload) {
      disk.set(file, content);
      stage.world.time.after(ms, () => write(file, content));
    } else write(file, content);
  };
}

describe("registries, in virtual time", function () {
  this.timeout(60_000);

  it("are in the guest of a new node before it is told to join, and in no message", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 1 });
    const { world } = stage;
    await stage.play(async () => {
      const wish = { ...stage.agentsOf(1), registries: registriesWith(password) };
      assert.equal(await stage.up(wish), "done", stage.engine.why);
      const { disk } = stage.vm(1101);
      assert.match(disk.get(guest.registries) ?? "", new RegExp(password));
      assert.match(disk.get(guest.join) ?? "", /^private-registry: \/etc\/evergreen\/registries\.yaml$/m);
      assert.equal(await stage.up(wish), "done", stage.engine.why);
      assert.deepEqual(stage.engine.ran, []);
    });
    assert.deepEqual(world.story.violations, []);
  });

  it("that name a file which the image lacks fail the join by name, and judge no image", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 1 });
    await stage.play(async () => {
      const wish = { ...stage.agentsOf(1), registries: registriesWith(password, { ca_file: "/etc/ssl/own.pem" }) };
      assert.equal(await stage.up(wish), "failed");
      assert.match(stage.engine.why, /has no \/etc\/ssl\/own\.pem, and evergreen:registries names it/);
      assert.ok(!stage.engine.why.includes(password));
      // A node that runs keeps what it has, and is named.
      assert.equal(stage.vm(1100).disk.get(guest.registries), undefined);
      for (const vm of nodesOf(stage)) vm.disk.set("/etc/ssl/own.pem", "a certificate");
      assert.equal(await stage.up(wish), "done", stage.engine.why);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("change in place, one node after the other, when a password does; the next run starts no step", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 3 });
    const { world } = stage;
    await stage.play(async () => {
      for (const [number, secret] of [password, "another password", password].entries()) {
        const wish = { ...stage.before, registries: registriesWith(secret) };
        const names = [...world.dc.vms.values()].map(({ name }) => name);
        assert.equal(await stage.up(wish), "done", stage.engine.why);
        for (const { disk, name } of nodesOf(stage)) {
          assert.ok(disk.get(guest.registries)?.includes(secret), `${name} in run ${number}`);
          assert.equal(disk.get(guest.registriesLoaded), filesOf(wish.registries).digest, name);
        }
        assert.deepEqual(
          [...world.dc.vms.values()].map(({ name }) => name),
          names,
        );
        assert.equal(await stage.up(wish), "done", stage.engine.why);
        assert.deepEqual(stage.engine.ran, []);
      }
    });
    assert.deepEqual(world.story.violations, []);
  });

  it("reach a node that was off in the next run after it is back", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 3 });
    const { world } = stage;
    await stage.play(async () => {
      const wish = { ...stage.before, registries: registriesWith(password) };
      stage.vm(1101).guest?.hang(400_000);
      assert.equal(await stage.up(wish), "done", stage.engine.why);
      const loaded = (vmid: number) => stage.vm(vmid).disk.get(guest.registriesLoaded) ?? "";
      assert.equal(loaded(1101), "");
      assert.notEqual(loaded(1102), "");
      await world.time.sleep(400_000);
      assert.equal(await stage.up(wish), "done", stage.engine.why);
      assert.equal(loaded(1101), loaded(1102));
      assert.equal(await stage.up(wish), "done", stage.engine.why);
      assert.deepEqual(stage.engine.ran, []);
    });
    assert.deepEqual(world.story.violations, []);
  });

  it("stop at a node that does not come back, and reach it first when they are put back", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 3 });
    const { world } = stage;
    await stage.play(async () => {
      const good = { ...stage.before, registries: registriesWith(password) };
      assert.equal(await stage.up(good), "done", stage.engine.why);
      const bad = { ...good, registries: registriesWith("one that RKE2 does not start with") };
      // RKE2 of this node does not start with them, and its kubelet is gone.
      let end: (() => void) | undefined;
      const { digest } = filesOf(bad.registries);
      const write = stage.vm(1101).guest?.write.bind(stage.vm(1101).guest);
      const own = stage.vm(1101).guest;
      assert.ok(own && write);
      own.write = (file, content) => {
        if (file === guest.registriesReload && content === digest) {
          stage.vm(1101).disk.set(file, content);
          world.watcher.struck(stage.nameOf(1101));
          end ??= world.cluster.nodes.stall(stage.nameOf(1101));
        } else write(file, content);
      };
      assert.equal(await stage.up(bad), "failed");
      assert.match(stage.engine.why, /demo-workers-1-\w+ did not come back with the configured registries/);
      assert.notEqual(stage.vm(1102).disk.get(guest.registriesLoaded), digest);
      // Another run does not go on to the next node: the slot is out.
      assert.notEqual(await stage.up(bad), "done");
      assert.notEqual(stage.vm(1102).disk.get(guest.registriesLoaded), digest);
      own.write = (file, content) => {
        write(file, content);
        if (file === guest.registriesReload) end?.();
      };
      assert.equal(await stage.up(good), "done", stage.engine.why);
      for (const vmid of [1100, 1101, 1102])
        assert.equal(stage.vm(vmid).disk.get(guest.registriesLoaded), filesOf(good.registries).digest);
    });
    assert.deepEqual(world.story.violations, []);
  });

  it("stop at once at a node whose unit says that RKE2 does not start with them, with its last words", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 2 });
    const { world } = stage;
    await stage.play(async () => {
      const bad = { ...stage.before, registries: registriesWith(password) };
      const { digest } = filesOf(bad.registries);
      const own = stage.vm(1100).guest;
      assert.ok(own);
      const write = own.write.bind(own);
      own.write = (file, content) => {
        if (file === guest.registriesReload && content === digest) stage.vm(1100).disk.set(file, content);
        else {
          write(file, content);
          return;
        }
        world.watcher.struck(stage.nameOf(1100));
        world.cluster.nodes.stall(stage.nameOf(1100));
        const end = `level=fatal msg="cannot unmarshal"`;
        world.time.after(20_000, () => stage.vm(1100).disk.set(guest.registriesFailed, `${digest}\na line\n${end}\n`));
      };
      const since = world.time.elapsed();
      assert.equal(await stage.up(bad), "failed");
      assert.match(
        stage.engine.why,
        /demo-workers-0-\w+ did not come back .*does not start.*: level=fatal msg="cannot/,
      );
      assert.ok(world.time.elapsed() - since < 120_000, "the step waited for its deadline");
      assert.notEqual(stage.vm(1101).disk.get(guest.registriesLoaded), digest);
    });
    assert.deepEqual(world.story.violations, []);
  });

  it("reach the others when a run was killed before it told a node, to which nothing can be written since", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 2 });
    const { world } = stage;
    await stage.play(async () => {
      const first = { ...stage.before, registries: registriesWith("the first password") };
      assert.equal(await stage.up(first), "done", stage.engine.why);
      const { disk } = stage.vm(1100);
      const { digest: before } = filesOf(first.registries);
      const wish = { ...stage.before, registries: registriesWith(password) };
      assert.equal(await stage.dieAt(wish, () => disk.get(guest.registriesLoaded) !== before), "killed");
      const reason = "Agent error: failed to open file (mode: 'wb'): Read-only file system";
      world.defect = (call) =>
        call.process.name.startsWith("registries-") && call.path.endsWith("/1100/agent/file-write")
          ? { status: 500, reason, body: JSON.stringify({ data: null }) }
          : world.honest(call);
      await stage.up(wish);
      assert.equal(stage.vm(1101).disk.get(guest.registriesLoaded), filesOf(wish.registries).digest);
    });
    assert.deepEqual(world.story.violations, []);
  });

  it("stay on nodes whose image promises no unit, and reach their successors", async () => {
    const images = stageImages().map((image, at) => (at === 0 ? { ...image, units: [] } : image));
    const stage = new Stage(images, { servers: 1, agents: 2 });
    const { world } = stage;
    await stage.play(async () => {
      const wish = { ...stage.before, registries: registriesWith(password) };
      assert.equal(await stage.up(wish), "done", stage.engine.why);
      assert.equal(stage.vm(1100).disk.get(guest.registries), undefined);
      assert.equal(await stage.up(wish), "done", stage.engine.why);
      assert.deepEqual(stage.engine.ran, []);
      assert.equal(await stage.up({ ...wish, image: stage.agentsOf(1).image }), "done", stage.engine.why);
      const agents = nodesOf(stage).filter(({ vmid }) => vmid >= 1100);
      for (const { disk } of agents) assert.ok(disk.get(guest.registries)?.includes(password));
    });
    assert.deepEqual(world.story.violations, []);
  });

  it("are changed by the next run when one is killed at any moment of it", async () => {
    for (const file of [guest.registriesLoaded, guest.registries, guest.registriesReload]) {
      const stage = new Stage(stageImages(), { servers: 3, agents: 2 });
      const { world } = stage;
      await stage.play(async () => {
        const wish = { ...stage.before, registries: registriesWith(password) };
        const before = stage.vm(1001).disk.get(file);
        assert.equal(await stage.dieAt(wish, () => stage.vm(1001).disk.get(file) !== before), "killed");
        // Somebody goes back meanwhile, and then on again.
        const other = { ...stage.before, registries: registriesWith("another password") };
        assert.equal(await stage.up(other), "done", stage.engine.why);
        assert.equal(await stage.up(wish), "done", stage.engine.why);
        for (const { disk } of nodesOf(stage))
          assert.equal(disk.get(guest.registriesLoaded), filesOf(wish.registries).digest);
      });
      assert.deepEqual(world.story.violations, []);
    }
  });

  it("reach first a server whose RKE2 a killed run has told to restart: never two at once", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
    const { world } = stage;
    await stage.play(async () => {
      const wish = { ...stage.before, registries: registriesWith(password) };
      const last = stage.vm(1002);
      // The server is well when the next run looks at it, once the leases of the killed one are over.
      delayReload(stage, 1002, 20_500);
      assert.equal(await stage.dieAt(wish, () => last.disk.has(guest.registriesReload)), "killed");
      const other = { ...stage.before, registries: registriesWith("another password") };
      assert.equal(await stage.up(other), "done", stage.engine.why);
      assert.equal(await stage.up(other), "done", stage.engine.why);
      assert.deepEqual(stage.engine.ran, []);
    });
    assert.deepEqual(world.story.violations, []);
  });

  for (const last of [guest.registries, guest.registriesFailed])
    it(`restart no server when another one has fallen since the control plane was looked at: with ${last}`, async () => {
      const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
      const { world } = stage;
      await stage.play(async () => {
        const wish = { ...stage.before, registries: registriesWith(password) };
        const { guest: own } = stage.vm(1001);
        assert.ok(own);
        const write = own.write.bind(own);
        own.write = (file, content) => {
          write(file, content);
          if (file === last) stage.cutPower(1002);
        };
        await stage.up(wish);
        assert.notEqual(stage.vm(1001).disk.get(guest.registriesReload), filesOf(wish.registries).digest);
      });
      assert.deepEqual(world.story.violations, []);
    });

  it("restart no server when another one has fallen while its Node was asked for, or the lease renewed", async () => {
    for (const slow of ["GET /nodes/demo-servers-1", "PUT /leases/slot-servers-1"]) {
      const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
      const { world } = stage;
      const [method, path = ""] = slow.split(" ");
      await stage.play(async () => {
        const wish = { ...stage.before, registries: registriesWith(password) };
        const { guest: own } = stage.vm(1001);
        assert.ok(own);
        let hasBegun = false;
        let isRead = false;
        let isStruck = false;
        const write = own.write.bind(own);
        own.write = (file, content) => {
          write(file, content);
          hasBegun = true;
        };
        const of = world.faults.of.bind(world.faults);
        world.faults.of = (call) => {
          if (hasBegun && !isRead && call.path.endsWith("/1001/agent/file-read")) {
            isRead = true;
            // Long enough for the lease to be renewed before the restart.
            return { ms: 7_600 };
          }
          if (!isRead || isStruck || call.method !== method || !call.path.includes(path)) return of(call);
          isStruck = true;
          world.time.after(6_000, () => stage.cutPower(1002));
          return { ms: 8_000 };
        };
        await stage.up(wish);
        assert.ok(isStruck);
      });
      assert.deepEqual(world.story.violations, []);
    }
  });

  it("reach a node in the run whose join brings it back", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 3 });
    const { world } = stage;
    await stage.play(async () => {
      const wish = { ...stage.before, registries: registriesWith(password) };
      stage.cutPower(1102, 1001);
      await world.time.sleep(60_000);
      assert.equal(await stage.up(wish), "done", stage.engine.why);
      for (const { disk, name } of nodesOf(stage))
        assert.equal(disk.get(guest.registriesLoaded), filesOf(wish.registries).digest, name);
      assert.equal(await stage.up(wish), "done", stage.engine.why);
      assert.deepEqual(stage.engine.ran, []);
    });
    assert.deepEqual(world.story.violations, []);
  });

  it("change also where etcd elects a leader while RKE2 restarts", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
    const { world } = stage;
    let until = 0;
    await stage.play(async () => {
      for (const { guest: own } of nodesOf(stage)) {
        const write = own?.write.bind(own);
        if (own && write)
          own.write = (file, content) => {
            if (file === guest.registriesReload) world.time.after(1000, () => (until = world.time.elapsed() + 28_000));
            write(file, content);
          };
      }
      world.believes = ({ api, path, process }) =>
        api === "kube" &&
        path.includes("/nodes/") &&
        process.name.startsWith("registries-") &&
        world.time.elapsed() < until
          ? refusal(500, "InternalError", "etcdserver: leader changed")
          : undefined;
      assert.equal(await stage.up({ ...stage.before, registries: registriesWith(password) }), "done", stage.engine.why);
    });
    assert.deepEqual(world.story.violations, []);
  });

  for (const [what, setting, vmid] of [
    ["a node", { servers: 1, agents: 1 }, 1101],
    ["the first server", { servers: 1, agents: 1, empty: true }, 1000],
  ] as const)
    it(`reach ${what} whose join has failed with other ones, because it could pull nothing`, async () => {
      const stage = new Stage(stageImages(), setting);
      const { world } = stage;
      const { objects } = world.cluster;
      await stage.play(async () => {
        const wrong = { ...stage.before, slots: 2, registries: registriesWith("a wrong password") };
        const put = objects.put.bind(objects);
        const waiting = { reason: "ImagePullBackOff", message: "401 Unauthorized" };
        const status = { phase: "Pending", containerStatuses: [{ restartCount: 0, state: { waiting } }] };
        const isHit = ({ metadata, spec }: Stored) =>
          metadata.labels?.daemon === "rke2-canal" && spec?.nodeName === stage.nameOf(vmid);
        objects.put = (collection, object) =>
          put(collection, collection === "pods" && isHit(object as Stored) ? { ...object, status } : object);
        assert.equal(await stage.up(wrong), "failed");
        assert.match(stage.engine.why, /its daemons cannot be fetched.*401 Unauthorized/);
        const right = { ...wrong, registries: registriesWith(password) };
        const { digest } = filesOf(right.registries);
        const own = stage.vm(vmid).guest;
        assert.ok(own);
        const write = own.write.bind(own);
        // RKE2 of this node pulls its images once it has started with the right ones.
        own.write = (file, content) => {
          if (file === guest.registriesReload && content === digest) objects.put = put;
          write(file, content);
        };
        assert.equal(await stage.up(right), "done", stage.engine.why);
        assert.equal(stage.vm(vmid).disk.get(guest.registriesLoaded), digest);
        assert.equal(await stage.up(right), "done", stage.engine.why);
        assert.deepEqual(stage.engine.ran, []);
      });
      assert.deepEqual(world.story.violations, []);
    });

  it("keep no node from being replaced to whose guest nothing can be written", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 2 });
    const { world } = stage;
    await stage.play(async () => {
      const reason = "Agent error: failed to open file (mode: 'wb'): Read-only file system";
      world.defect = (call) =>
        call.process.name.startsWith("registries-") && call.path.endsWith("/1100/agent/file-write")
          ? { status: 500, reason, body: JSON.stringify({ data: null }) }
          : world.honest(call);
      assert.equal(
        await stage.up({ ...stage.agentsOf(1), registries: registriesWith(password) }),
        "done",
        stage.engine.why,
      );
      for (const { disk, vmid } of nodesOf(stage).filter((vm) => vm.vmid >= 1100))
        assert.ok(disk.get(guest.registries)?.includes(password), String(vmid));
    });
    assert.deepEqual(world.story.violations, []);
  });

  it("restart no server that was frozen while another one fell", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
    const { world } = stage;
    let isFrozen = false;
    await stage.play(async () => {
      world.defect = (call) => {
        const own = stage.vm(1000).guest;
        if (
          !isFrozen &&
          own &&
          call.process.name.startsWith("registries-") &&
          call.path.endsWith("/1000/agent/file-write")
        ) {
          isFrozen = true;
          own.frozen = true;
          world.time.after(2_000, () => stage.cutPower(1001));
          world.time.after(60_000, () => (own.frozen = false));
        }
        return world.honest(call);
      };
      const wish = { ...stage.before, registries: registriesWith(password) };
      await stage.up(wish);
      assert.equal(await stage.up(wish), "done", stage.engine.why);
    });
    assert.ok(isFrozen);
    assert.deepEqual(world.story.violations, []);
  });

  it("reach first a server that a killed run has told, also when its agent is silent for a moment", async () => {
    const stage = new Stage(stageImages(), { servers: 3, agents: 1 });
    const { world } = stage;
    await stage.play(async () => {
      const wish = { ...stage.before, registries: registriesWith(password) };
      const last = stage.vm(1002);
      delayReload(stage, 1002, 24_000);
      assert.equal(await stage.dieAt(wish, () => last.disk.has(guest.registriesReload)), "killed");
      let isStruck = false;
      world.defect = (call) => {
        const isLook = call.process.name.startsWith("registries-") && call.path.endsWith("/1002/agent/file-read");
        if (isLook && !isStruck) {
          isStruck = true;
          last.guest?.hang(3_000);
        }
        return world.honest(call);
      };
      const other = { ...stage.before, registries: registriesWith("another password") };
      assert.equal(await stage.up(other), "done", stage.engine.why);
      assert.ok(isStruck);
      assert.equal(await stage.up(other), "done", stage.engine.why);
    });
    assert.deepEqual(world.story.violations, []);
  });

  it("keep no node from being replaced whose unit does nothing while its RKE2 runs", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 2 });
    const { world } = stage;
    await stage.play(async () => {
      const own = stage.vm(1100).guest;
      assert.ok(own);
      const write = own.write.bind(own);
      own.write = (file, content) => {
        if (file === guest.registriesReload) stage.vm(1100).disk.set(file, content);
        else write(file, content);
      };
      const wish = { ...stage.agentsOf(1), registries: registriesWith(password) };
      assert.equal(await stage.up(wish), "done", stage.engine.why);
      const { digest } = filesOf(wish.registries);
      for (const { disk, name } of nodesOf(stage)) assert.equal(disk.get(guest.registriesLoaded), digest, name);
      assert.equal(await stage.up(wish), "done", stage.engine.why);
      assert.deepEqual(stage.engine.ran, []);
    });
    assert.deepEqual(world.story.violations, []);
  });
});
