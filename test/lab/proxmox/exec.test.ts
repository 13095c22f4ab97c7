import assert from "node:assert/strict";
import { labImage, seedVm } from "../../../lab/proxmox/site.ts";
import { Bench } from "./bench.ts";

const exec = "nodes/pve1/qemu/1100/agent/exec";
const status = "nodes/pve1/qemu/1100/agent/exec-status";

for (const [index, version] of (["8.4", "9.2"] as const).entries()) {
  describe(`programs by the guest agent, ${version}`, () => {
    let bench: Bench;
    /** Every privilege of the agent but the one that this version asks for. */
    const almost =
      version === "8.4" ? ["VM.Audit", "VM.PowerMgmt"] : ["VM.GuestAgent.FileWrite", "VM.GuestAgent.Audit"];
    const enough = version === "8.4" ? "VM.Monitor" : "VM.GuestAgent.Unrestricted";

    before(async () => {
      bench = await Bench.start(28_196 + index, { version });
      bench.dc.addNode("pve1");
      bench.dc.addStorage("local");
      bench.dc.addToken("root@pam!lab", { root: true });
      seedVm(bench.dc, { vmid: 1100, name: "n", image: labImage("1.0.0", "v1") });
      for (const [token, privileges] of [
        ["t@pve!almost", almost],
        ["t@pve!enough", [enough]],
      ] as const) {
        bench.dc.addToken(token);
        bench.dc.grant(token, "/vms/1100", privileges);
      }
      await bench.task("POST", "nodes/pve1/qemu/1100/status/start");
    });

    after(async () => bench.stop());

    it("need the one privilege for everything in a guest, and their status too", async () => {
      const refused = `Permission check failed (/vms/1100, ${enough})`;
      assert.equal((await bench.call("POST", exec, { command: "true" }, "t@pve!almost")).reason, refused);
      assert.equal((await bench.call("GET", status, { pid: 1 }, "t@pve!almost")).reason, refused);
      const { pid } = await bench.data<{ pid: number }>(
        "POST",
        exec,
        { command: ["/bin/busybox", "uname", "-r"] },
        "t@pve!enough",
      );
      const ended = await bench.data("GET", status, { pid }, "t@pve!enough");
      assert.deepEqual(ended, { exited: 1, exitcode: 0, "out-data": "6.1.0-56-cloud-amd64\n", "out-truncated": 0 });
    });

    const refused: [what: string, params: Record<string, string | string[]>, reason: string, errors?: object][] = [
      ["no command", {}, "Parameter verification failed.", { command: "property is missing and it is not optional" }],
      [
        "more input than the agent takes",
        { command: "/bin/busybox", "input-data": "x".repeat(65_537) },
        "Parameter verification failed.",
        { "input-data": "value may only be 65536 characters long" },
      ],
      [
        "an input twice",
        { command: "/bin/busybox", "input-data": ["a", "b"] },
        "Parameter verification failed.",
        { "input-data": "type check ('string') failed - got ARRAY" },
      ],
      [
        "an input that Perl does not encode",
        { command: "/bin/busybox", "input-data": "€" },
        "Wide character in subroutine entry at /usr/share/perl5/PVE/QemuServer/Agent.pm line 91.",
      ],
      ["a program that is not there", { command: ["/no/such", "-x"] }, "Broken pipe"],
    ];
    for (const [what, params, reason, errors] of refused)
      it(`are refused for ${what}`, async () => {
        const reply = await bench.call("POST", exec, params);
        assert.deepEqual([reply.reason, reply.body?.errors], [reason, errors]);
      });
  });
}
