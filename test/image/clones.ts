/** What clones of a sealed disk are asked: who they are, that they wait, and that a join starts RKE2. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { guest } from "../../images/contract.ts";
import type { ImageDefinition } from "../../src/domain/images/definition.ts";
import { MEASURE, RECORD_DIRECTORY } from "../../src/domain/images/measurement.ts";
import { findDefects } from "./bake.ts";
import type { Machine } from "./machine.ts";

/** Waits until they have booted. Their identities differ; what they hold is what the image's record says. */
export async function checkClones(clones: readonly Machine[], definition: ImageDefinition): Promise<void> {
  await Promise.all(clones.map((machine) => machine.boot()));
  const verdicts = await Promise.all(clones.map((machine) => machine.awaitCloudInit(600)));
  for (const verdict of verdicts) assert.equal((JSON.parse(verdict) as { status: string }).status, "done", verdict);
  for (const machine of clones) assert.deepEqual(await findDefects(machine, definition, "clone"), []);
  const identities = await Promise.all(
    clones.map(({ agent }) =>
      agent.sh(
        `cat /etc/machine-id /etc/hostname /proc/sys/kernel/random/boot_id
        ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub`,
      ),
    ),
  );
  const [one = [], two = []] = identities.map((text) => text.split("\n"));
  for (const [index, line] of one.slice(0, 4).entries()) assert.notEqual(line, two[index]);
  const measured = await Promise.all(clones.map(({ agent }) => agent.sh(`${MEASURE} /run/measured`, 300)));
  const recorded = (list: string) => `"${list}":"$(sha256sum <${RECORD_DIRECTORY}/${list} | cut -d ' ' -f 1)"`;
  for (const [index, { agent }] of clones.entries()) {
    const differences = await agent.sh(`diff ${RECORD_DIRECTORY}/files /run/measured/files || :`);
    assert.equal(differences, "", "files that a clone has other than the record");
    const record = await agent.sh(`cat <<END\n{${recorded("packages")},${recorded("files")}}\nEND\n`);
    assert.equal(measured[index], record);
  }
}

/** Join data start RKE2 through the path unit, only root can read them then, and a reboot starts it again. */
export async function checkJoin(machine: Machine, definition: ImageDefinition): Promise<void> {
  const { agent } = machine;
  await reboot(machine);
  assert.deepEqual(await findDefects(machine, definition, "clone"), [], "on its second boot");
  const data = "server: https://10.0.0.5:9345\ntoken: K10secret\nnode-name: clone-1\n";
  await agent.writeFile(guest.join, data);
  await agent.writeFile(guest.marker, `server ${createHash("sha256").update(data).digest("hex")}\n`);
  await awaitTrue(machine, "systemctl is-active --quiet rke2-server.service", "RKE2 to run");
  const config = "/etc/rancher/rke2/config.yaml.d/90-evergreen.yaml";
  assert.equal(await agent.sh(`stat -c '%a %U' ${config}`), "600 root\n");
  assert.equal(await agent.readFile(config), data);
  assert.equal(await agent.readFile(guest.join), "# taken\nserver: https://10.0.0.5:9345\n");
  await awaitTrue(
    machine,
    `grep -q 'stand-in for RKE2: server with 1 fragment' ${guest.log}`,
    "RKE2's words in the join log",
  );

  await agent.writeFile(guest.yield, "run-1");
  await awaitTrue(machine, `grep -qx run-1 ${guest.yielded}`, "the server to step down");
  const health = await agent.sh("curl --silent --output /dev/null --write-out '%{http_code}' http://127.0.0.1:9346/");
  assert.equal(health, "503");
  await agent.writeFile(guest.yield, "");
  await awaitTrue(machine, `[ -e ${guest.yielded} ] && ! grep -q . ${guest.yielded}`, "the server to serve again");

  await reboot(machine);
  await awaitTrue(machine, "systemctl is-active --quiet rke2-server.service", "RKE2 to run after a reboot");

  await agent.writeFile(guest.join, "");
  await agent.writeFile(guest.marker, "");
  const isWiped = `[ ! -e ${config} ] && ! systemctl is-active --quiet rke2-server.service`;
  await awaitTrue(machine, isWiped, "the join data to be wiped");
}

async function reboot(machine: Machine): Promise<void> {
  const { agent } = machine;
  const read = () => agent.sh("cat /proc/sys/kernel/random/boot_id", 10).catch(() => "");
  const before = await read();
  await agent.shutdown("reboot");
  const end = performance.now() + 300_000;
  for (let now = before; now === before || now === ""; now = await read()) {
    if (performance.now() > end) throw new Error("the guest has not rebooted in 300 s");
    await delay(1000);
  }
  await machine.awaitCloudInit(300);
}

async function awaitTrue({ agent }: Machine, condition: string, what: string): Promise<void> {
  const end = performance.now() + 120_000;
  while ((await agent.run(["/bin/sh", "-c", condition], { seconds: 60 })).exitCode !== 0) {
    if (performance.now() > end) {
      const journal = await agent.sh("journalctl --boot --no-pager --lines 60");
      throw new Error(`waited 120 s for ${what}\n${journal}`);
    }
    await delay(500);
  }
}
