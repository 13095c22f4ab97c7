import assert from "node:assert/strict";
import * as openpgp from "openpgp";
import { sha256 } from "./web.ts";

export const IMAGE = "ubuntu-24.04-server-cloudimg-amd64.img";

/** A key of a site, and what it signs: the shape of Ubuntu's lists, with files that are small enough for a test. */
export async function siteKey() {
  const pair = await openpgp.generateKey({
    userIDs: [{ name: "site" }],
    format: "object",
    date: new Date("2026-01-01"),
  });
  const sign = async (text: string, at = new Date("2026-07-25T20:00:00Z")): Promise<Buffer> => {
    const message = await openpgp.createMessage({ binary: Buffer.from(text) });
    const signed: unknown = await openpgp.sign({
      message,
      signingKeys: pair.privateKey,
      detached: true,
      format: "binary",
      date: at,
    });
    assert.ok(signed instanceof Uint8Array);
    return Buffer.from(signed);
  };
  return { sign, armored: pair.publicKey.armor(), fingerprint: pair.publicKey.getFingerprint().toUpperCase() };
}

/** The files of a release. */
export function releaseOf(serial: string, before = "20260705") {
  const manifest = `curl\t8.5.0-2ubuntu10.${serial.slice(-1)}\n`;
  const cve = {
    cve: `CVE-2026-${serial.slice(-4)}`,
    url: "",
    cve_priority: "High",
    cve_description: "",
    cve_public_date: "",
  };
  // In the form of canonical/ubuntu-cloud-image-changelog, models.py.
  const changelog = JSON.stringify({
    diff: {
      deb: [
        { name: "curl", cves: [cve], notes: null },
        { name: "vim", cves: null },
      ],
      snap: [],
    },
    added: { deb: [{ name: "libcurl4t64", cves: [cve] }], snap: [] },
    removed: { deb: [], snap: [] },
  });
  const change = `ubuntu-24.04-server-cloudimg-amd64.release.${before}.${serial}.image_changelog.json`;
  const sums = `${sha256(`image of ${serial}`)} *${IMAGE}\n${sha256(manifest)} *ubuntu-24.04-server-cloudimg-amd64.manifest\n${sha256(changelog)} *${change}\n`;
  return { sums, files: { "ubuntu-24.04-server-cloudimg-amd64.manifest": manifest, [change]: changelog } };
}

export type SiteKey = Awaited<ReturnType<typeof siteKey>>;
