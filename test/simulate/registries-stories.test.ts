import assert from "node:assert/strict";
import { guest } from "../../images/contract.ts";
import type { Registries } from "../../src/domain/model/registries.ts";
import { Stage, stageImages } from "./stage.ts";

const password = "a password of the registry";
const registriesWith = (secret: string, tls?: object): Registries => ({
  configs: { "registry.example.org": { auth: { username: "puller", password: secret }, ...(tls && { tls }) } },
});

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
      stage.vm(1101).disk.set("/etc/ssl/own.pem", "a certificate");
      assert.equal(await stage.up(wish), "done", stage.engine.why);
    });
    assert.deepEqual(stage.world.story.violations, []);
  });
});
