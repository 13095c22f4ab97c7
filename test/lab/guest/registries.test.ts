import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import type { Guest } from "../../../lab/types.ts";
import { joinLog, TestRack } from "./support.ts";

describe("registries of a guest", function () {
  this.timeout(60_000);
  let rack: TestRack;

  before(async () => {
    rack = await TestRack.start("127.67");
  });

  after(() => rack.close());

  const file = "/etc/evergreen/registries.yaml";
  const digestOf = (text: string): string => createHash("sha256").update(text).digest("hex");
  const write = (guest: Guest, path: string, text: string): void => guest.writeFile(path, Buffer.from(text));

  const reload = (guest: Guest, text: string): void => {
    write(guest, file, text);
    write(guest, "/etc/evergreen/registries.reload", digestOf(text));
  };

  const textOf = (guest: Guest, path: string): string => {
    try {
      return guest.readFile(path).toString();
    } catch {
      return "";
    }
  };

  const loaded = (guest: Guest): string => textOf(guest, "/etc/evergreen/registries.loaded");

  it("keep RKE2 from starting when they are no YAML, until they are", async () => {
    const guest = await rack.boot(rack.machine(1000, "demo-servers-0"));
    write(guest, file, "mirrors: [");
    rack.order(guest, "server", { "node-name": "demo-servers-0", "private-registry": file });
    await rack.until("RKE2 to say so", () =>
      Promise.resolve(textOf(guest, joinLog).includes("failed to get private registry configuration")),
    );
    write(guest, file, "mirrors: {}");
    await rack.ready("demo-servers-0");

    const bad = "configs: {";
    reload(guest, bad);
    await rack.ready("demo-servers-0", "Unknown");
    assert.notEqual(loaded(guest), digestOf(bad));
    const failed = () => textOf(guest, "/etc/evergreen/registries.failed");
    await rack.until("the unit to say why", () =>
      Promise.resolve(new RegExp(`^${digestOf(bad)}\n.*failed to get private registry`).test(failed())),
    );

    const good = "configs: {}";
    reload(guest, good);
    await rack.ready("demo-servers-0");
    await rack.until("the unit to say so", () => Promise.resolve(loaded(guest) === digestOf(good)));
  });
});
