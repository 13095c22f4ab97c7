import assert from "node:assert/strict";
import { ownSettings, poolSpecs, readConfig } from "../../src/config/config.ts";
import { requireSecretRegistries } from "../../src/config/registries.ts";
import { generationOf } from "../../src/domain/model/generation.ts";
import { registryFiles, registrySecrets, type Registries } from "../../src/domain/model/registries.ts";
import { IMAGES, minimal, refusal, refused } from "../support/config.ts";
import { madeKey, madeCertificate } from "../support/pem.ts";

const password = "a password of the registry";
const plain: Registries = {
  mirrors: {
    "docker.io": {
      endpoint: ["https://registry.example.org:5000"],
      rewrite: { "(?i)^library/(?P<name>.*)": "mirror/$name" },
    },
  },
  configs: { "registry.example.org:5000": { auth: { username: "puller", password }, tls: { ca: madeCertificate } } },
};
const read = (registries: unknown) => readConfig(minimal({}, { registries }));
const withTls = (tls: object) => ({ configs: { "registry.example.org": { tls } } });

describe("registries of a configuration", () => {
  it("are taken as a map, and as the text of an RKE2 registries.yaml", () => {
    const text = "mirrors:\n  docker.io:\n    endpoint: [https://registry.example.org]\n";
    const { registries } = readConfig(ownSettings(asKeys({ ...minimal(), registries: text })));
    assert.deepEqual(registries, { mirrors: { "docker.io": { endpoint: ["https://registry.example.org"] } } });
    assert.deepEqual(read(plain).registries, plain);
    assert.deepEqual(readConfig(ownSettings(asKeys({ ...minimal(), registries: "" }))).registries, {});
  });

  it("are in no generation", () => {
    const ids = [{}, plain].map((registries) =>
      poolSpecs(read(registries), IMAGES).map(({ node }) => generationOf(node).id),
    );
    assert.deepEqual(ids[0], ids[1]);
    assert.deepEqual(
      ids[0],
      poolSpecs(readConfig(minimal()), IMAGES).map(({ node }) => generationOf(node).id),
    );
  });

  it("are refused with the path, and without a word of their values", () => {
    const cases: [given: unknown, expected: RegExp][] = [
      [{ mirror: {} }, /the key "mirror" is unknown[^]*evergreen:registries\.mirror[^]*did you mean "mirrors"/],
      [{ configs: { "r.example.org": { auth: { pasword: password } } } }, /did you mean "password"/],
      [{ configs: { "r.example.org": { auth: { password: [password] } } } }, /it must be a string/],
      [{ configs: { "https://r.example.org": {} } }, /must be a host/],
      [{ configs: { [`puller:${password}@r.example.org`]: {} } }, /must be a host/],
      [{ configs: { r: { auth: { username: "puller", [`password:${password}`]: null } } } }, /use one of: username, /],
      [{ mirrors: { "docker.io": { endpoint: [`https://user:${password}@r`] } } }, /without credentials/],
      [{ mirrors: { "docker.io": { rewrite: { "(": "x" } } } }, /must be a regular expression/],
      [{ mirrors: { "docker.io": { rewrite: { "^(?!library)": "x" } } } }, /must be a regular expression/],
      [withTls({ ca: password }), /must be certificates in PEM/],
      [withTls({ ca: `${madeCertificate}\n${password}` }), /must be certificates in PEM/],
      [withTls({ ca_file: "certs/ca.pem" }), /absolute path of a file that the image has/],
      [withTls({ cert: madeCertificate, key: password }), /must be a private key/],
      [withTls({ cert: madeCertificate }), /a client certificate needs its key/],
      [withTls({ ca: madeCertificate, ca_file: "/etc/ssl/ca.pem" }), /ca and ca_file are both set/],
      [{ configs: { r: { auth: { username: "puller" } } } }, /these credentials are not one way to log in/],
      [{ configs: { r: { auth: { username: "a", password, auth: password } } } }, /not one way to log in/],
      [{ configs: { r: { auth: { auth: password.repeat(3000) } } } }, /the registries are too large: a file of/],
      [
        { configs: { r: { auth: { auth: password.repeat(6000) } } } },
        /the registries are too large: \d+ bytes, and a step/,
      ],
    ];
    for (const [given, expected] of cases) {
      const message = refusal(() => read(given));
      assert.match(message, expected);
      assert.match(message, /evergreen:registries/);
      assert.ok(!message.includes(password), message);
    }
  });

  it("are refused as a text that is no YAML, with the line alone", () => {
    const text = `configs:\n  r:\n    auth: {username: "${password}"\n  x: [`;
    const message = refusal(() => ownSettings(asKeys({ registries: text })));
    assert.match(message, /the registries are no YAML: line \d/);
    assert.ok(!message.includes(password), message);
  });

  it("are refused beside a file of the image that a pool names", () => {
    const config = minimal({ config: { "private-registry": "/etc/registries.yaml" } }, { registries: plain });
    const [problem] = refused(() => readConfig(config));
    assert.equal(problem?.where, "evergreen:pools[0].config.private-registry");
  });

  it("have to be a secret of the stack where they have credentials", () => {
    const keys = JSON.stringify(["evergreen:registries"]);
    requireSecretRegistries(read(plain), { PULUMI_CONFIG_SECRET_KEYS: keys });
    requireSecretRegistries(read({ mirrors: plain.mirrors }), {});
    requireSecretRegistries(readConfig(minimal()), {});
    for (const environment of [{}, { PULUMI_CONFIG_SECRET_KEYS: '["evergreen:backup"]' }])
      assert.match(
        refusal(() => requireSecretRegistries(read(plain), environment)),
        /the registries have credentials in clear/,
      );
  });
});

describe("the files of registries", () => {
  const tls = { ca: madeCertificate, cert: madeCertificate, key: madeKey, insecure_skip_verify: false };

  it("name certificates and keys by their content", () => {
    const { pems, yaml, expected } = registryFiles(withTls(tls), "/etc/evergreen/registry-");
    assert.equal(pems.length, 2, "one certificate twice, and a key");
    for (const { path } of pems) {
      assert.match(path, /^\/etc\/evergreen\/registry-[0-9a-f]{16}\.pem$/);
      assert.ok(yaml.includes(path));
    }
    assert.deepEqual(expected, []);
    assert.ok(!yaml.includes("BEGIN"));
    assert.match(yaml, /insecure_skip_verify: false/);
  });

  it("change their digest with anything in them", () => {
    const digest = (registries: Registries) => registryFiles(registries, "").digest;
    const changed = structuredClone(plain);
    Object.assign(changed.configs?.["registry.example.org:5000"]?.auth ?? {}, { password: "another" });
    const all = [plain, changed, {}, withTls(tls), withTls({ ca: madeCertificate }), withTls({ ca_file: "/ca" })];
    assert.equal(new Set(all.map(digest)).size, all.length);
  });

  it("have their secrets known, so that they are never shown", () => {
    assert.deepEqual(registrySecrets(plain), [password]);
    assert.deepEqual(registrySecrets(withTls(tls)), [madeKey.trim()]);
  });

  it("name what the image has to have", () => {
    assert.deepEqual(registryFiles(withTls({ ca_file: "/etc/ssl/own.pem" }), "").expected, ["/etc/ssl/own.pem"]);
  });
});

const asKeys = (settings: object) =>
  Object.fromEntries(Object.entries(settings).map(([key, value]) => [`evergreen:${key}`, value as unknown]));
