import assert from "node:assert/strict";
import { credentialsFrom, Proxmox } from "../../../src/clients/proxmox/client.ts";
import { redact } from "../../../src/runtime/log.ts";
import { ProxmoxError } from "../../../src/clients/proxmox/errors.ts";
import { fakeProxmox } from "./fake.ts";

describe("Proxmox client", () => {
  it("sends the token, forms percent-encoded, and booleans as 1 and 0", async () => {
    await using pve = await fakeProxmox(() => ({ data: null }));
    await pve.client.put("/nodes/pve1/qemu/101/config", { onboot: true, tags: "a=b;c d", gone: undefined });
    await pve.client.delete("/nodes/pve1/qemu/101", { purge: false });
    assert.deepEqual(pve.seen, [
      {
        method: "PUT",
        path: "/nodes/pve1/qemu/101/config",
        parameters: { onboot: "1", tags: "a=b;c d" },
        authorization: "PVEAPIToken=eg@pve!test=0-0",
      },
      {
        method: "DELETE",
        path: "/nodes/pve1/qemu/101",
        parameters: { purge: "0" },
        authorization: "PVEAPIToken=eg@pve!test=0-0",
      },
    ]);
  });

  it("takes the reason phrase for the message and names the parameters that were refused", async () => {
    await using pve = await fakeProxmox(() => ({
      status: 400,
      reason: "Parameter verification failed.",
      errors: { content: "value may only be 61440 characters long" },
    }));
    await assert.rejects(pve.client.post("/x"), (error: unknown) => {
      assert.ok(error instanceof ProxmoxError);
      assert.equal(error.status, 400);
      assert.equal(
        error.message,
        "Parameter verification failed.; content: value may only be 61440 characters long (400 to POST /x)",
      );
      return true;
    });
  });

  for (const fault of [
    "hang up",
    { status: 595, reason: "Network is unreachable" },
    { status: 599, reason: "Too slow" },
  ] as const) {
    const name = typeof fault === "string" ? fault : String(fault.status);
    it(`reads again after: ${name}`, async () => {
      await using pve = await fakeProxmox((_, count) => (count < 3 ? fault : { data: "here" }));
      assert.equal(await pve.client.get("/version"), "here");
      assert.equal(pve.seen.length, 3);
    });

    it(`never writes again after: ${name}`, async () => {
      await using pve = await fakeProxmox(() => fault);
      await assert.rejects(pve.client.post("/nodes/pve1/qemu/101/status/start"));
      assert.equal(pve.seen.length, 1);
    });
  }

  it("does not read again what was answered: 500 is an answer", async () => {
    await using pve = await fakeProxmox(() => ({ status: 500, reason: "Configuration file 'x' does not exist" }));
    await assert.rejects(pve.client.get("/x"), (error: unknown) => error instanceof ProxmoxError && error.missingVm);
    assert.equal(pve.seen.length, 1);
  });

  it("gives up with endpoint, path, tries and cause when nobody listens", async () => {
    const pve = await fakeProxmox(() => "hang up");
    const { endpoint } = pve.client;
    await pve[Symbol.asyncDispose]();
    const client = new Proxmox({ endpoint, token: "a@b!c=d", retryMs: 1 });
    await assert.rejects(client.get("/version"), (error: unknown) => {
      assert.ok(error instanceof Error);
      assert.match(error.message, /does not answer \(ECONNREFUSED, 4 tries\)/);
      assert.ok(error.message.includes(`GET ${endpoint}/api2/json/version`));
      assert.match(error.message, /pveproxy/);
      return true;
    });
    await client.close();
  });

  for (const raw of ["<html>Login</html>", "", "[]", '{"success":1}', '{"data":']) {
    it(`concludes nothing from an answer like ${JSON.stringify(raw)}`, async () => {
      await using pve = await fakeProxmox(() => ({ raw }));
      await assert.rejects(pve.client.get("/cluster/resources"), /not understood.*no data in it/s);
    });
  }

  const ours = { PROXMOX_VE_ENDPOINT: "https://pve.example:8006", PROXMOX_VE_API_TOKEN: "eg@pve!replace=1111-2222" };
  const variables: [string, string, boolean][] = [
    ["PROXMOX_VE_INSECURE", "true", true],
    ["PROXMOX_VE_INSECURE", "false", false],
    ["PROXMOX_VE_INSECURE", "", false],
    ["PM_VE_INSECURE", "1", true],
    ["PROXMOX_VE_MIN_TLS", "1.0", true],
    ["PROXMOX_VE_AUTH_TICKET", "PVE:root@pam:65", true],
    ["PROXMOX_VE_CSRF_PREVENTION_TOKEN", "65", true],
    ["PROXMOX_VE_OTP", "123456", true],
    ["PROXMOX_VE_USERNAME", "root@pam", true],
    ["PROXMOX_VE_PASSWORD", "secret", true],
    ["PM_VE_ENDPOINT", "https://other.example:8006", true],
    ["PM_VE_API_TOKEN", "a@b!c=d", true],
    ["PROXMOX_VE_OF_A_LATER_PROVIDER", "x", true],
    ["PROXMOX_VE_SSH_USERNAME", "terraform", false],
    ["PM_VE_SSH_AGENT", "true", false],
    ["PROXMOX_VE_TMPDIR", "/var/tmp", false],
    ["PROXMOX_HOST", "x", false],
  ];
  for (const [name, value, isRefused] of variables) {
    it(`${isRefused ? "refuses" : "allows"} ${name}=${value}, which the provider reads`, () => {
      const read = () => credentialsFrom({ ...ours, [name]: value });
      const words = new RegExp(`${name} is set: the provider would reach Proxmox in another way`);
      if (isRefused) assert.throws(read, words);
      else assert.equal(read().endpoint, ours.PROXMOX_VE_ENDPOINT);
    });
  }

  for (const [endpoint, says] of [
    ["https://gateway.example/pve", /has the path \/pve, and the Proxmox provider reaches only the root/],
    ["https://gateway.example/pve/api2/json", /has the path \/pve\/api2\/json/],
    ["https://[fd00::1:8006", /PROXMOX_VE_ENDPOINT has not the form/],
    ["https://pve.example:8006/api2/json/", undefined],
    ["https://pve.example", undefined],
    ["https://[fd00::1]:8006/", undefined],
  ] as const)
    it(`${says ? "refuses" : "takes"} the endpoint ${endpoint}`, () => {
      const read = () => credentialsFrom({ ...ours, PROXMOX_VE_ENDPOINT: endpoint });
      if (says) assert.throws(read, says);
      else assert.equal(read().endpoint, new URL(endpoint).origin);
    });

  it("names every credential that is missing or malformed, and hides the token", () => {
    assert.throws(
      () => credentialsFrom({ PROXMOX_VE_ENDPOINT: "http://pve:8006" }),
      /PROXMOX_VE_ENDPOINT has not the form.*PROXMOX_VE_API_TOKEN is not set.*='USER@REALM!ID=UUID'; .*lab up/s,
    );
    const secret = "11111111-2222-3333-4444-555555555555";
    const credentials = credentialsFrom({
      PROXMOX_VE_ENDPOINT: "https://pve.example:8006/",
      PROXMOX_VE_API_TOKEN: `eg@pve!replace=${secret}`,
    });
    assert.equal(credentials.endpoint, "https://pve.example:8006");
    assert.ok(!redact(`the header was PVEAPIToken=${credentials.token}`).includes(secret));
    assert.ok(!redact(`only ${secret}`).includes(secret));
  });
});
