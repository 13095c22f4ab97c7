import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { faultKinds, Strikes, struckBy } from "../../lab/strikes.ts";
import { matrixOf } from "./strikes.ts";

describe("the matrix of faults that struck", () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "strikes-"));
  });
  afterEach(() => rmSync(directory, { recursive: true }));

  it("sums the cells of all labs, and names what never struck", () => {
    const file = join(directory, "strikes");
    const [one, other] = [new Strikes(), new Strikes()];
    one.count("drop", "POST nodes/{node}/qemu/{vmid}/clone");
    one.count("drop", "POST nodes/{node}/qemu/{vmid}/clone");
    other.count("drop", "POST nodes/{node}/qemu/{vmid}/clone");
    other.count("lock-vm", "backup");
    for (const lab of [one, other]) lab.append(file);
    const { rows, empty } = matrixOf(readFileSync(file, "utf8"));
    assert.deepEqual(rows, [
      ["lock-vm", "backup", "1"],
      ["drop", "POST nodes/{node}/qemu/{vmid}/clone", "3"],
    ]);
    assert.equal(empty.length, Object.keys(faultKinds).length - 2);
    assert.ok(!empty.includes("drop") && empty.includes("host-off"));
  });

  it("counts an order when it is given, and a rule on requests only when one meets it", () => {
    assert.equal(struckBy({ kind: "lock-vm", vm: 1, lock: "backup" }), "backup");
    assert.equal(struckBy({ kind: "host-off", host: "pve2" }), "a host");
    assert.equal(struckBy({ kind: "drop", match: ".*", nth: 1, when: "before" }), undefined);
  });
});
