import assert from "node:assert/strict";
import type { Guest, Machine } from "../../../lab/types.ts";
import { commandOf, type Words } from "../../support/recovery-page.ts";
import { takeSnapshot } from "../support/snapshot.ts";
import { TestRack } from "./support.ts";

const database = "/var/lib/rancher/rke2/server/db";
const configMaps = "/api/v1/namespaces/default/configmaps";

/** A control plane of two servers whose first one is lost for good. Its commands are those of docs/recovery.md. */
describe("a server that is reset at its console", function () {
  this.timeout(180_000);
  let lab: TestRack;
  let guest: Guest;
  let founder: Machine;

  const name = "demo-servers-1-aaaaaaaa";
  const members = async () => (await lab.rack.members()).map(({ node, learner }) => ({ node, learner }));
  const alone = { node: name, learner: false };
  // An API server that has just started refuses for a moment: its namespaces are not there yet.
  const write = (data: string) =>
    lab.until(`${data} to be written`, async () => {
      const { status } = await lab.kube.call("POST", configMaps, { metadata: { name: data } });
      return status === 201 || status === 409;
    });
  const read = async () => {
    const { body } = await lab.kube.call<{ items: { metadata: { name: string } }[] }>("GET", configMaps);
    return body.items.map(({ metadata }) => metadata.name).filter((one) => !one.startsWith("kube-"));
  };
  const refused = (command: string, why: RegExp) => assert.rejects(guest.run(command), why);
  const page = (section: string, beginning: string, words?: Words) => guest.run(commandOf(section, beginning, words));
  const restart = async () => {
    await guest.run("systemctl start rke2-server");
    await lab.until("its API server", () => Promise.resolve(lab.rack.apiServers.length === 1));
  };
  before(async () => {
    lab = await TestRack.start("127.68");
    founder = lab.machine(1000, "demo-servers-0-aaaaaaaa");
    const first = await lab.join(founder, "server");
    const token = await first.run("cat /var/lib/rancher/rke2/server/token");
    guest = await lab.join(lab.machine(1001, name), "server", token);
    // A learner may be behind.
    await lab.until("two voters", async () => (await members()).filter(({ learner }) => !learner).length === 2);
    await write("before");
    // A voter knows that an entry is committed once it gets the next one; a reset drops what it does not know of.
    await write("kube-next");
    for (const command of ["systemctl stop rke2-server", "rke2-killall.sh", `mv ${database} ${database}-lost`])
      await first.run(command);
    await first.powerOff();
  });
  after(async () => {
    await lab.close();
  });

  it("is asked for in vain while its etcd runs, with a wrong token, or from a snapshot that is not there", async () => {
    await refused("rke2 server --cluster-reset", /listen tcp :9345: bind/);
    await guest.run("systemctl stop rke2-server");
    await refused("rke2 server --cluster-reset", /listen tcp :9345: bind/);
    await guest.run("rke2-killall.sh");
    await refused("rke2 server --cluster-reset", /cannot perform cluster-reset while server URL is set/);
    await page("One server has its data", "sed");
    await refused("rke2 server --cluster-reset --token K10abc::server:wrong", /invalid token|different token/);
    const missing = `rke2 server --cluster-reset --cluster-reset-restore-path=${database}/snapshots/none`;
    await refused(missing, /snapshot path does not exist/);
    await refused("reboot", /the lab has no such command/);
  });

  it("is the only member then, with all that it had, and is not reset twice in a row", async () => {
    const reset = () => page("One server has its data", "rke2 server --cluster-reset");
    assert.match(await reset(), /membership has been reset, restart without/);
    await assert.rejects(reset(), /was reset previously.*reset-flag/);
    await page("One server has its data", "mv");
    await restart();
    assert.deepEqual(await members(), [alone]);
    assert.deepEqual(await read(), ["before"]);
    assert.match(await guest.run("grep ^server: /etc/rancher/rke2/config.yaml.d/90-evergreen.yaml"), /^server: https:/);
  });

  it("has what a snapshot on its own disk has, and nothing that came later", async () => {
    const section = "Restore an etcd snapshot";
    const TOKEN = await page(section, "cat");
    const [SNAPSHOT = ""] = await takeSnapshot(guest.interfaces()[0]?.addresses[0]?.address ?? "", TOKEN);
    await write("later");
    assert.deepEqual(await read(), ["before", "later"]);
    assert.match(await page(section, "ls"), new RegExp(`^${SNAPSHOT}$`, "m"));
    for (const command of ["systemctl stop", "rke2-killall", "sed"]) await page(section, command);
    await page(section, "rke2 server --cluster-reset", { TOKEN, SNAPSHOT });
    await page(section, "mv");
    await restart();
    assert.deepEqual(await members(), [alone]);
    assert.deepEqual(await read(), ["before"]);
  });

  it("has another cluster beside it when the founder is started without its data: it was told of nobody", async () => {
    const started = await lab.boot(founder);
    assert.equal(await started.run("grep ^server: /etc/evergreen/join.yaml"), "");
    await lab.until("a second API server", () => Promise.resolve(lab.rack.apiServers.length === 2));
    assert.deepEqual(await members(), [alone]);
  });
});
