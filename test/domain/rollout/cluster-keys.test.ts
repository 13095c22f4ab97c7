import assert from "node:assert/strict";
import type { Json } from "../../../src/domain/model/canonical.ts";
import { clusterKeyProblems, lifelongKeysIn } from "../../../src/domain/rollout/cluster-keys.ts";

describe("keys that hold as long as a cluster lives", () => {
  type Config = Record<string, Json>;
  const cases: [string, Config, Config, string[]][] = [
    ["nothing is said", {}, {}, []],
    ["the usual value is written down", { "cluster-cidr": "10.42.0.0/16" }, {}, []],
    ["another network of pods", { "cluster-cidr": "10.244.0.0/16" }, {}, ["cluster-cidr"]],
    ["a network of pods is forgotten", {}, { "cluster-cidr": "10.244.0.0/16" }, ["cluster-cidr"]],
    ["another network of services", { "service-cidr": "10.96.0.0/16" }, {}, ["service-cidr", "cluster-dns"]],
    [
      "the DNS address that follows from the network is written down",
      { "service-cidr": "10.96.0.0/16", "cluster-dns": "10.96.0.10" },
      { "service-cidr": "10.96.0.0/16" },
      [],
    ],
    [
      "the DNS addresses of both families are written down",
      { "service-cidr": "10.43.0.0/16,fd00:43::/112", "cluster-dns": "10.43.0.10,fd00:43::a" },
      { "service-cidr": "10.43.0.0/16,fd00:43::/112" },
      [],
    ],
    [
      "networks and addresses have another spelling",
      { "cluster-cidr": "10.42.0.0/16,2001:cafe:42::/56", "cluster-dns": "10.43.0.10,FD00:43::A" },
      { "cluster-cidr": "10.42.0.0/16,2001:cafe:42:0::/56", "cluster-dns": "10.43.0.10,fd00:43::a" },
      [],
    ],
    [
      "networks have another length",
      { "cluster-cidr": "10.42.0.0/16,fd00:42::/56" },
      { "cluster-cidr": "10.42.0.0/16,fd00:42::/48" },
      ["cluster-cidr"],
    ],
    ["another DNS address", { "cluster-dns": "10.43.0.53" }, {}, ["cluster-dns"]],
    ["another domain", { "cluster-domain": "example.local" }, {}, ["cluster-domain"]],
    ["another way to the kubelets", { "egress-selector-mode": "disabled" }, {}, ["egress-selector-mode"]],
    ["another network plugin", { cni: "cilium" }, { cni: "canal" }, ["cni"]],
    ["a list in another form", { cni: ["multus", "canal"] }, { cni: "multus,canal" }, []],
    ["a list that is appended to", { "cni+": ["multus", "canal"] }, { cni: "multus,canal" }, []],
    ["no kube-proxy any more", { "disable-kube-proxy": true }, {}, ["disable-kube-proxy"]],
    ["an image registry in the nodes", { "embedded-registry": true }, {}, ["embedded-registry"]],
    ["metrics of the supervisor", { "supervisor-metrics": true }, {}, ["supervisor-metrics"]],
    ["a load balancer for services", { "enable-servicelb": true }, {}, ["enable-servicelb"]],
    ["another cipher of secrets", { "secrets-encryption-provider": "secretbox" }, {}, ["secrets-encryption-provider"]],
    ["a key that may change", { "etcd-snapshot-retention": 9 }, { "etcd-snapshot-retention": 5 }, []],
  ];
  for (const [what, wanted, live, keys] of cases) {
    it(`${keys.length > 0 ? `refuses ${keys.join(" and ")}` : "refuses nothing"} when ${what}`, () => {
      const problems = clusterKeyProblems(wanted, [{ config: live }]);
      const places = keys.map((key) => `evergreen:controlPlane.config.${key}`);
      assert.deepEqual(
        problems.map(({ where }) => where),
        places,
      );
    });
  }

  it("looks at every server that is a member, and at none in an empty site", () => {
    const other = { "cluster-cidr": "10.244.0.0/16" };
    assert.equal(clusterKeyProblems({}, [{ config: {} }, { config: other }]).length, 1);
    assert.equal(clusterKeyProblems(other, []).length, 0);
  });

  it("takes what servers show that were made without a key for what their image says", () => {
    const cilium = { cni: "cilium" };
    const adopted = { shown: cilium };
    const made = { config: {}, shown: cilium };
    for (const wanted of [{}, cilium]) assert.deepEqual(clusterKeyProblems(wanted, [adopted, made]), []);
    assert.equal(clusterKeyProblems({}, [adopted]).length, 1, "nothing shows yet what the image says");
    assert.equal(clusterKeyProblems({ cni: "calico" }, [adopted, made]).length, 1);
    assert.equal(clusterKeyProblems({}, [{ config: cilium, shown: cilium }]).length, 1, "the key was taken out");
    assert.deepEqual(clusterKeyProblems({}, [{}]), [], "of a server nothing is known");
  });

  const annotations: [string, string | undefined, object | undefined][] = [
    ["none", undefined, undefined],
    ["what is no list", '{"a":1}', undefined],
    ["what cannot be read", "[", undefined],
    ["other arguments", '["server","--tls-san","cilium","--token","********"]', {}],
    ["a value", '["server","--cni","cilium"]', { cni: "cilium" }],
    ["a value in one word", '["server","--cni=cilium"]', { cni: "cilium" }],
    ["several values", '["server","--cni","multus","--cni","canal"]', { cni: "multus,canal" }],
    ["a switch", '["server","--disable-kube-proxy","--cni","none"]', { "disable-kube-proxy": "true", cni: "none" }],
    ["a switch at the end", '["server","--disable-kube-proxy"]', { "disable-kube-proxy": "true" }],
    ["a switch with its value", '["server","--disable-kube-proxy","false"]', { "disable-kube-proxy": "false" }],
    ["a switch in another form", '["server","--disable-kube-proxy","T"]', { "disable-kube-proxy": "true" }],
    [
      "the command line after the file",
      '["server","--cluster-domain","a.example","--disable-kube-proxy","false","--cluster-domain=b.example","--disable-kube-proxy"]',
      { "cluster-domain": "b.example", "disable-kube-proxy": "true" },
    ],
    [
      "a network that is given twice",
      '["server","--cluster-cidr","10.42.0.0/16","--cluster-cidr","10.42.0.0/16"]',
      { "cluster-cidr": "10.42.0.0/16" },
    ],
  ];
  for (const [what, annotation, keys] of annotations)
    it(`reads ${what} on a server's Node`, () => assert.deepEqual(lifelongKeysIn(annotation), keys));

  it("reads variables of a server's RKE2 too, which count where no argument does", () => {
    const environment = '{"RKE2_CNI":"cilium","RKE2_ENABLE_SERVICELB":"1","RKE2_TOKEN":"********"}';
    assert.deepEqual(lifelongKeysIn('["server"]', environment), { cni: "cilium", "enable-servicelb": "true" });
    assert.equal(lifelongKeysIn('["server","--cni","calico"]', environment)?.cni, "calico");
    for (const none of [undefined, "", "null", "{", "[]", '{"RKE2_CNI":""}'])
      assert.deepEqual(lifelongKeysIn('["server"]', none), {});
  });
});
