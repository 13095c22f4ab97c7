import type { Kubernetes } from "../../kubernetes/client.ts";

const policies = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";

/** Has the API server refuse every eviction, until the policy is deleted. */
export async function denyEvictions(client: Kubernetes): Promise<void> {
  const api = { apiVersion: "admissionregistration.k8s.io/v1", metadata: { name: "no-evictions" } };
  const rule = { apiGroups: [""], apiVersions: ["v1"], operations: ["CREATE"], resources: ["pods/eviction"] };
  await client.create(policies, {
    ...api,
    kind: "ValidatingAdmissionPolicy",
    spec: {
      matchConstraints: { resourceRules: [rule] },
      validations: [{ expression: "false", message: "not tonight" }],
    },
  });
  await client.create(policies.replace("policies", "policybindings"), {
    ...api,
    kind: "ValidatingAdmissionPolicyBinding",
    spec: { policyName: "no-evictions", validationActions: ["Deny"] },
  });
}

export async function allowEvictions(client: Kubernetes): Promise<void> {
  await client.delete(`${policies}/no-evictions`);
}
