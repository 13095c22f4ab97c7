import assert from "node:assert/strict";
import { VM_TYPE } from "../../src/recovery/engine-state.ts";
import { labelsOf } from "../../src/clients/kubernetes/nodes.ts";
import { parseNodeName } from "../../src/domain/model/generation.ts";
import { tagsOf } from "../../src/clients/proxmox/tags.ts";
import type { Vm } from "./data-centre.ts";
import { Stage, stageImages } from "./stage.ts";

const name = "demo-workers-1-11111111";
const vmid = 1101;
const tags = tagsOf({ cluster: "demo", pool: "workers", slot: 1, generation: "11111111" });

/** How a repair handles what killed runs have left in Proxmox VE and in the engine's state. */
describe("a repair in virtual time", function () {
  this.timeout(60_000);
  let stage: Stage;
  beforeEach(() => (stage = new Stage(stageImages(), { servers: 1, agents: 1 })));

  const play = async (work: () => Promise<void>): Promise<void> => {
    await stage.play(work);
    assert.deepEqual(stage.world.story.violations, []);
  };
  const begun = { pending: [{ urn: name, type: VM_TYPE, inputs: { name, vmId: vmid } }] };
  /** Makes a clone of ours that the engine does not know, and waits until the list of VMs has it. */
  const clone = async (more: Partial<Vm> = {}): Promise<Vm> => {
    const { dc, time } = stage.world;
    const made = dc.add({ owner: "ours", vmid, name, host: "pve1", pool: "nodes", uuid: dc.uuid(), ...more });
    await time.sleep(15_000);
    return made;
  };
  /** All VMs that the engine knows; the clone is not among them. */
  const others = () =>
    [1000, 1100].map((one) => ({ vmid: one, name: stage.nameOf(one), host: "pve1", urn: stage.nameOf(one) }));
  const isThere = (one = vmid) => stage.world.dc.vms.has(one);
  const remember = (pool: string, facts: Record<string, object>) => {
    const { objects } = stage.world.cluster;
    const data = Object.fromEntries(Object.entries(facts).map(([key, fact]) => [key, JSON.stringify(fact)]));
    const labels = { "evergreen.dev/pool": pool };
    objects.put("configmaps", { metadata: { name: `slot-${pool}-1`, namespace: "evergreen-system", labels }, data });
  };
  const own = (uuid: string, phase: string) => {
    const since = "2026-01-01T00:00:00Z";
    return { "node.1.11111111": { name, slot: 1, generation: "11111111", vmid, uuid, phase, since } };
  };
  /** Records something else about the node of VM 1100. */
  const rewrite = (change: object) => {
    const { name, uuid } = stage.vm(1100);
    const generation = parseNodeName(name, "demo")?.generation ?? "";
    const { objects } = stage.world.cluster;
    const found =
      objects.get("configmaps", "evergreen-system/slot-workers-0") ??
      objects.get("configmaps", "evergreen-system/pool-workers");
    assert.ok(found);
    const since = "2026-01-01T00:00:00Z";
    const fact = { name, slot: 0, generation, vmid: 1100, uuid, phase: "handedOver", since, ...change };
    const data = { ...(found.data as Record<string, string>), [`node.0.${generation}`]: JSON.stringify(fact) };
    objects.put("configmaps", { ...found, data });
  };

  describe("of a create that never ended", () => {
    it("destroys its clone, and has the engine forget it", async () =>
      await play(async () => {
        await clone();
        const { why, refreshed } = await stage.mend(begun);
        assert.deepEqual([why, isThere(), refreshed], ["", false, []]);
      }));

    it("waits until Proxmox has finished the clone", async () =>
      await play(async () => {
        const made = await clone({ lock: "clone" });
        stage.world.time.after(20_000, () => (made.lock = undefined));
        const { why } = await stage.mend(begun);
        assert.deepEqual([why, isThere()], ["", false]);
      }));

    it("leaves its clone alone when another run has taken the lease while the clone was waited for", async () =>
      await play(async () => {
        const made = await clone({ lock: "clone" });
        stage.world.time.after(20_000, () => (made.lock = undefined));
        const { why } = await stage.mend(begun, { isAlone: () => made.lock === "clone" });
        assert.deepEqual([why, isThere()], ["the lease update was lost", true]);
      }));

    it("waits for its task while the clone is not in sight yet", async () =>
      await play(async () => {
        const { dc, time } = stage.world;
        const template = dc.vms.get(9001);
        assert.ok(template);
        dc.clone(template, { vmid, name, host: "pve1", pool: "elsewhere" });
        const made = dc.vms.get(vmid);
        const waits = async () => {
          while (dc.isBusy()) await time.sleep(10);
          if (made) made.pool = "nodes";
        };
        const shown = waits();
        const { why } = await stage.mend(begun);
        await shown;
        assert.deepEqual([why, isThere()], ["", false]);
      }));

    const left: [when: string, arrange: () => Promise<unknown>, says: RegExp][] = [
      ["runs", () => clone({ running: true }), /runs or was a member, and nobody recorded its SMBIOS uuid/],
      [
        "was started by another cluster",
        () => clone({ tags: ["eg-member"] }),
        /runs or was a member, and nobody recorded/,
      ],
      [
        "has just been started, which the list does not show yet",
        async () => {
          const made = await clone();
          stage.world.dc.powerOn(made);
        },
        /runs or was a member, and nobody recorded its SMBIOS uuid/,
      ],
      [
        "may be the machine of a Node that has not told its uuid",
        async () => {
          await clone();
          const labels = labelsOf({ cluster: "demo", pool: "workers", slot: 1, generation: "11111111" });
          stage.world.cluster.objects.put("nodes", { metadata: { name, labels } });
        },
        /runs or was a member/,
      ],
    ];
    for (const [when, arrange, says] of left)
      it(`leaves its clone alone that ${when}, and the engine keeps it in mind`, async () =>
        await play(async () => {
          await arrange();
          const { why, refreshed } = await stage.mend(begun);
          assert.match(why, says);
          assert.deepEqual([isThere(), refreshed], [true, undefined]);
        }));

    it("does not call it one that has made no VM while its number is somebody's out of sight", async () =>
      await play(async () => {
        await clone({ pool: "theirs" });
        const { said } = await stage.mend(begun);
        assert.match(said.join(), /VM 1101 is out of the token's sight/);
        assert.ok(isThere());
      }));

    it("leaves a VM of that number and name alone that is in another pool", async () =>
      await play(async () => {
        await clone({ owner: "stranger", pool: "templates" });
        assert.match((await stage.mend(begun)).said.join(), /left alone: VM 1101 is/);
        assert.ok(isThere());
      }));

    it("has the engine take a clone over that is a member by now", async () =>
      await play(async () => {
        const { uuid } = await clone({ running: true });
        remember("workers", own(uuid, "joined"));
        const { why, refreshed } = await stage.mend({ ...begun, vms: others() });
        assert.deepEqual([why, isThere(), refreshed], ["", true, ["pve1/1101"]]);
      }));

    it("leaves its clone alone while an update may run", async () =>
      await play(async () => {
        await clone();
        const { why, refreshed } = await stage.mend(begun, { isSure: false });
        assert.match(why, /this backend does not show whether an update runs/);
        assert.deepEqual([isThere(), refreshed], [true, undefined]);
      }));
  });

  it("does nothing more once another run has the lease: it takes no lease away, and nothing is forgotten", async () =>
    await play(async () => {
      const spec = { holderIdentity: "join-7", leaseDurationSeconds: 15 };
      const metadata = { name: "slot-workers-1", namespace: "evergreen-system" };
      stage.world.cluster.objects.put("leases", { metadata, spec });
      let asked = 0;
      const lost = await stage.mend(begun, { isAlone: () => (asked += 1) < 1 });
      assert.deepEqual([lost.why, lost.said], ["the lease update was lost", []]);
      assert.ok(stage.world.cluster.objects.get("leases", "evergreen-system/slot-workers-1"));
      stage.world.cluster.objects.remove("leases", "evergreen-system/slot-workers-1");
      asked = 0;
      const { why, refreshed } = await stage.mend(begun, { isAlone: () => (asked += 1) < 2 });
      assert.deepEqual([why, refreshed], ["the lease update was lost", undefined]);
    }));

  it("begins nothing with the file of another cluster: an update would destroy what the state has", async () =>
    await play(async () => {
      await clone({ tags: ["eg-image", "rke2-v1.34.4+rke2r1"] });
      const theirs = { vmid: 2100, name: "other-workers-0-11111111", host: "pve1" };
      const whose = tagsOf({ cluster: "other", pool: "workers", slot: 0, generation: "11111111" });
      await clone({ ...theirs, owner: "stranger", tags: whose, running: true });
      const { why, said } = await stage.mend({ vms: [{ ...theirs, urn: theirs.name }] }, { asked: "by an update" });
      assert.match(why, /this stack has 1 VMs, and none is a node of the cluster demo/);
      assert.deepEqual([said, isThere()], [[], true]);
    }));

  it("destroys a clone that no state knows, but not while an update may run", async () =>
    await play(async () => {
      await clone({ tags: ["eg-image", "rke2-v1.34.4+rke2r1"] });
      await stage.mend({ vms: others() }, { isSure: false });
      assert.ok(isThere());
      await stage.mend({ vms: others() });
      assert.ok(!isThere());
    }));

  it("leaves a VM alone that no state knows, and that was about to come back with data on it alone", async () =>
    await play(async () => {
      const { uuid } = await clone({ tags });
      const volume = { volume: "pv-1", claim: "default/data-0", storage: "1Gi", kind: "local", reclaim: "Retain" };
      const node = own(uuid, "made")["node.1.11111111"];
      remember("workers", { "node.1.11111111": { ...node, keeps: [{ ...volume, pods: [] }] } });
      const { said } = await stage.mend({ vms: others() });
      assert.match(said.join(), /VM 1101 .* is in no state of the engine, and is recorded as made -> left alone/);
      assert.ok(isThere());
    }));

  it("names nodes that an older state does not have; a rollout brings nodes that the engine knows", async () =>
    await play(async () => {
      const old = stage.nameOf(1100);
      const others = () => [...stage.world.dc.vms.values()].filter(({ name, template }) => !template && name !== old);
      const remembers = () => ({
        vms: others().map(({ vmid, name, host }) => ({ vmid, name, host, urn: name })),
      });
      stage.engine.state.forgets(old);
      assert.match(
        (await stage.mend(remembers())).said.join(),
        /VM 1100 .* is in no state of the engine, and is recorded as handedOver -> left alone: .*raise the `rollout` counter/,
      );
      assert.equal(await stage.up(stage.before), "failed");
      assert.match(stage.engine.why, /unable to create VM 1100: config file already exists/);
      assert.equal(await stage.up({ ...stage.before, rollout: 1 }), "done", stage.engine.why);
      // The list of VMs is seconds old.
      await stage.world.time.sleep(15_000);
      assert.match(
        (await stage.mend(remembers())).said.join(),
        /VM 1100 .* is recorded as retired -> left alone: .* Destroy VM 1100 by hand/,
      );
      assert.equal(stage.vm(1100).running, false);
    }));

  it("names nodes that the state does not have on a host whose statistics hang", async () =>
    await play(async () => {
      stage.world.dc.withoutStatistics.add("pve1");
      const { said } = await stage.mend({ vms: others().filter((one) => one.vmid !== 1100) });
      assert.match(said.join(), /VM 1100 .* is in no state of the engine, and is recorded as handedOver/);
    }));

  it("destroys a clone that was never configured on a host whose statistics hang", async () =>
    await play(async () => {
      await clone();
      stage.world.dc.withoutStatistics.add("pve1");
      const { why } = await stage.mend({ vms: [...others(), { vmid, name, host: "pve1", urn: name }] });
      assert.deepEqual([why, isThere()], ["", false]);
    }));

  it("forgets a VM that is gone and whose name a later VM of ours has, as an older state shows it", async () =>
    await play(async () => {
      const older = others().map((one) => (one.vmid === 1100 ? { ...one, vmid: 1105 } : one));
      const { why, said, refreshed } = await stage.mend({ vms: older });
      assert.deepEqual([why, refreshed], ["", []]);
      assert.match(said.join(), /VM 1105 .*, which is gone.*VM 1100 .* is in no state of the engine/);
      assert.ok(stage.vm(1100).running);
    }));

  it("does not take a VM for gone that somebody gave another number", async () =>
    await play(async () => {
      rewrite({ vmid: 1105 });
      const older = others().map((one) => (one.vmid === 1100 ? { ...one, vmid: 1105 } : one));
      const { why, refreshed } = await stage.mend({ vms: older });
      assert.match(why, /was made as VM 1105, which is gone, and VM 1100 has its name/);
      assert.equal(refreshed, undefined);
    }));

  it("says how a node goes that is in no state and whose slot is not wanted any more", async () => {
    stage = new Stage(stageImages(), { servers: 1, agents: 2 });
    await play(async () => {
      const vms = [...stage.world.dc.vms.values()]
        .filter(({ vmid, template }) => !template && vmid !== 1101)
        .map(({ vmid, name, host }) => ({ vmid, name, host, urn: name }));
      const fewer = { ...stage.before, slots: 1 };
      stage.engine.state.forgets(stage.nameOf(1101));
      assert.equal(await stage.up(fewer), "done", stage.engine.why);
      assert.ok(stage.vm(1101).running);
      const { said } = await stage.mend({ vms }, { wish: fewer });
      assert.match(said.join(), /VM 1101 .* its slot is not wanted any more.*give pool workers 2 slots again/);
      assert.equal(await stage.up({ ...stage.before, rollout: 1 }), "done", stage.engine.why);
      assert.equal(await stage.up({ ...fewer, rollout: 1 }), "done", stage.engine.why);
      // Off, or destroyed by hand, if the list of VMs has told a repair that it is off.
      assert.ok(stage.world.dc.vms.get(1101)?.running !== true);
    });
  });

  it("says how a node goes whose retirement was broken off, that is in no state and whose slot is not wanted", async () =>
    await play(async () => {
      const { world, engine, before } = stage;
      const { cluster, dc, time } = world;
      const [older, known] = [engine.state.copy(), others()];
      const twoSlots = { ...before, slots: 2 };
      assert.equal(await stage.up(twoSlots), "done", engine.why);
      const record = () => JSON.stringify(cluster.objects.get("configmaps", "evergreen-system/slot-workers-1"));
      // Before its power is asked for.
      assert.equal(await stage.dieAt(before, () => record().includes("retired"), 1), "killed");
      engine.state.imports(older);
      await time.sleep(60_000);
      // Whether its power-off was asked for is a matter of milliseconds: if so, somebody starts it again.
      if (!stage.vm(1101).running) dc.powerOn(stage.vm(1101));
      assert.equal(await stage.up(before), "done", engine.why);
      assert.ok(stage.vm(1101).running, "nothing ends its retirement");
      const { said } = await stage.mend({ vms: known });
      assert.match(
        said.join(),
        /VM 1101 .* as retired -> left alone: its slot is not wanted .*give pool workers 2 slots/,
      );
      assert.equal(await stage.up({ ...twoSlots, rollout: 1 }), "done", engine.why);
      assert.ok(dc.vms.get(1101)?.running !== true);
      assert.equal(await stage.up({ ...before, rollout: 1 }), "done", engine.why);
    }));

  it("has nobody destroy a retired VM that runs, or has its Node", async () =>
    await play(async () => {
      const vms = others().filter((one) => one.vmid !== 1100);
      rewrite({ phase: "retired" });
      const { said } = await stage.mend({ vms });
      assert.match(said.join(), /VM 1100 .* recorded as retired -> left alone: it is not off yet/);
    }));

  it("destroys a clone that was claimed and could not be configured, and no member", async () =>
    await play(async () => {
      const { uuid } = await clone();
      const made = { vmid, name, host: "pve1", urn: name };
      for (const [phase, stays] of [
        ["joined", true],
        ["made", false],
      ] as const) {
        remember("workers", own(uuid, phase));
        await stage.mend({ unfinished: [made] });
        assert.equal(isThere(), stays, phase);
      }
    }));

  it("waits for a destruction that Proxmox still carries out, and has the engine forget the VM", async () =>
    await play(async () => {
      const made = await clone({ tags });
      const known = { vmid, name, host: "pve1", urn: name };
      stage.world.dc.destroy(made);
      const { why, refreshed } = await stage.mend({ deleting: [known], vms: [...others(), known] });
      assert.deepEqual([why, refreshed], ["", []]);
    }));

  it("reads the state once, which takes seconds from some backends", async () =>
    await play(async () => {
      const { reads } = await stage.mend({ vms: others() });
      assert.equal(reads, 1);
    }));

  it("does not wait for a destruction on a host that does not answer", async () =>
    await play(async () => {
      await clone({
        host: "pve2",
        tags,
      });
      stage.world.dc.silent.add("pve2");
      const known = { vmid, name, host: "pve2", urn: name };
      const { why } = await stage.mend({ deleting: [known], vms: [...others(), known] });
      stage.world.dc.silent.clear();
      assert.equal(why, "");
    }));

  it("has the engine forget nothing while a VM of its is out of the token's sight", async () =>
    await play(async () => {
      const made = await clone({ tags });
      made.pool = "elsewhere";
      const gone = { vmid: 1150, name: "demo-workers-2-11111111", host: "pve1", urn: "gone" };
      const { why, refreshed } = await stage.mend({ vms: [...others(), { ...gone, vmid, name }, gone] });
      assert.match(why, /demo-workers-1-11111111/);
      assert.equal(refreshed, undefined);
    }));

  it("asks the host of a clone that the list has no name of yet: it is no stranger (seeds 728036164, 7801614)", async () =>
    await play(async () => {
      const { dc } = stage.world;
      dc.add({ owner: "ours", vmid, name, host: "pve1", pool: "nodes", uuid: dc.uuid() });
      const known = { vmid, name, host: "pve1", urn: name };
      const { why } = await stage.mend({ vms: [...others(), known], unfinished: [known] });
      assert.deepEqual([why, isThere()], ["", false]);
    }));

  it("has the engine forget a create and a VM that is gone also while the host of another VM does not answer", async () =>
    await play(async () => {
      const { silent } = stage.world.dc;
      stage.world.watcher.struck(stage.nameOf(1100));
      stage.vm(1100).host = "pve2";
      silent.add("pve2");
      const vms = others().map((one) => ({ ...one, host: stage.vm(one.vmid).host }));
      const gone = { vmid, name, host: "pve1", urn: name };
      const created = await stage.mend({ ...begun, vms });
      const forgotten = await stage.mend({ vms: [...vms, gone] });
      silent.clear();
      for (const { why, refreshed } of [created, forgotten]) assert.deepEqual([why, refreshed], ["", []]);
    }));

  for (const isMade of [true, false])
    it(`undoes a create that ${isMade ? "has made a clone" : "has made nothing"} while a host with another copy of the template does not answer`, async () =>
      await play(async () => {
        const { dc } = stage.world;
        const template = dc.vms.get(9001);
        assert.ok(template);
        const { name: image, tags: imageTags } = template;
        dc.add({
          owner: "template",
          template: true,
          vmid: 9101,
          name: image,
          tags: imageTags,
          host: "pve2",
          pool: "templates",
          uuid: dc.uuid(),
        });
        if (isMade) await clone();
        await stage.world.time.sleep(15_000);
        dc.silent.add("pve2");
        const inputs = { name, vmId: vmid, nodeName: "pve1", clone: { vmId: 9001, nodeName: "pve1" } };
        const { why, refreshed } = await stage.mend({ pending: [{ urn: name, type: VM_TYPE, inputs }], vms: others() });
        dc.silent.clear();
        assert.deepEqual([why, isThere(), refreshed], ["", false, []]);
      }));

  it("names a stranger that has the number of a VM of the engine's", async () =>
    await play(async () => {
      await clone({ owner: "stranger", name: "web" });
      const { why } = await stage.mend({ vms: [...others(), { vmid, name, host: "pve1", urn: name }] });
      assert.match(why, /VM 1101 is not demo-workers-1-11111111 any more: it is called web/);
    }));

  it("calls no VM a stranger of which a silent host does not say the name", async () =>
    await play(async () => {
      await clone({ host: "pve2", tags: ["eg-image"] });
      const { dc, time } = stage.world;
      dc.silent.add("pve2");
      await time.sleep(120_000);
      const { why } = await stage.mend({ vms: [...others(), { vmid, name, host: "pve2", urn: name }] });
      assert.match(why, /whether VM 1101 is still demo-workers-1-11111111: .*its Proxmox host pve2 does not answer/);
      dc.silent.clear();
      await time.sleep(15_000);
      const mended = await stage.mend({ vms: [...others(), { vmid, name, host: "pve2", urn: name }] });
      assert.deepEqual([mended.why, isThere()], ["", false]);
    }));

  it("has the engine forget nothing while a stranger has the number of one of its VMs: a refresh would take over its name", async () => {
    await stage.play(async () => {
      const { dc, time } = stage.world;
      const known = others();
      for (const vm of dc.vms.values()) dc.powerCut(vm);
      for (const { vmid: one } of known) dc.vms.delete(one);
      await clone({ owner: "stranger", name: "web" });
      await time.sleep(15_000);
      const { why, refreshed } = await stage.mend({ vms: [...known, { vmid, name, host: "pve1", urn: name }] });
      assert.match(why, /VM 1101 is not demo-workers-1-11111111 any more: it is called web/);
      assert.equal(refreshed, undefined);
    });
  });

  it("gives up a node that has served when an operator asks, and not for an update", async () =>
    await play(async () => {
      const { dc, cluster, time } = stage.world;
      const known = others();
      const lost = stage.nameOf(1100);
      const vm = dc.vms.get(1100);
      assert.ok(vm);
      stage.world.watcher.struck(lost);
      dc.powerCut(vm);
      dc.vms.delete(1100);
      await time.sleep(60_000);
      assert.deepEqual((await stage.mend({ vms: known }, { asked: "by an update" })).refreshed, undefined);
      assert.ok(cluster.objects.get("nodes", lost));
      assert.deepEqual((await stage.mend({ vms: known })).refreshed, []);
      assert.equal(cluster.objects.get("nodes", lost), undefined);
    }));

  it("gives up a node whose VM was deleted by hand before its retirement was over", async () => {
    const stage = new Stage(stageImages(), { servers: 1, agents: 2 });
    const { dc, cluster, time } = stage.world;
    await stage.play(async () => {
      const name = stage.nameOf(1100);
      const record = () => JSON.stringify(cluster.objects.get("configmaps", "evergreen-system/slot-workers-0"));
      assert.equal(await stage.dieAt(stage.agentsOf(1), () => record().includes("retired")), "killed");
      assert.ok(cluster.objects.get("nodes", name));
      stage.cutPower(1100);
      dc.vms.delete(1100);
      await time.sleep(120_000);
      assert.equal(await stage.up(stage.agentsOf(1)), "refused");
      assert.match(stage.engine.why, /the VM of Node demo-workers-0-\w+ is gone/);
      const { said } = await stage.mend({});
      assert.match(said.join(), /the VM 1100 of demo-workers-0-\w+ is gone, and its Node is left -> deleted the Node/);
      assert.equal(await stage.up(stage.agentsOf(1)), "done", stage.engine.why);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });

  it("gives up no VM, and be it for an operator, under whose name a Node is Ready", async () =>
    await play(async () => {
      const { dc, cluster } = stage.world;
      const known = others();
      for (const map of ["pool-workers", "slot-workers-0"])
        cluster.objects.remove("configmaps", `evergreen-system/${map}`);
      dc.vms.delete(1100);
      const { why, refreshed } = await stage.mend({ vms: known });
      assert.match(why, /demo-workers-0-/);
      assert.equal(refreshed, undefined);
    }));

  it("takes no other Proxmox VE for a site whose VMs were all deleted", async () => {
    await stage.play(async () => {
      const known = others();
      for (const vm of stage.world.dc.vms.values()) stage.world.dc.powerCut(vm);
      for (const { vmid: one } of known) stage.world.dc.vms.delete(one);
      const { why, refreshed } = await stage.mend({ vms: known });
      assert.match(why, /none of the 2 VMs that the engine remembers is in this Proxmox VE/);
      assert.equal(refreshed, undefined);
    });
  });

  it("has the engine follow a VM that was migrated", async () =>
    await play(async () => {
      const known = others().map((one) => ({ ...one, host: "pve1" }));
      const vm = stage.world.dc.vms.get(1100);
      assert.ok(vm);
      vm.host = "pve2";
      assert.deepEqual((await stage.mend({ vms: known })).followed, [stage.nameOf(1100)]);
    }));
});
