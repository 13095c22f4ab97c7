/** Objects, each with the path of the collection that it belongs to. */
type Objects = [collection: string, object: object][];

const policies = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
const name = "no-evictions";

/** The policy that `evictionDenial` makes: evictions are denied until it is deleted. */
export const denialPath = `${policies}/${name}`;

/**
 * An eviction of nobody: answered with 404, and with 422 while a policy denies evictions. The API server takes a policy up, and
 * lets it go, seconds after its object was written.
 */
export function evictionOfNobody(namespace: string): { path: string; object: object } {
  return {
    path: `/api/v1/namespaces/${namespace}/pods/nobody/eviction`,
    object: { apiVersion: "policy/v1", kind: "Eviction", metadata: { name: "nobody", namespace } },
  };
}

/**
 * What has the API server refuse every eviction, as the webhook of an operator does that rolls its pods itself.
 * @param namespace in which they are refused; by default in all
 */
export function evictionDenial(namespace?: string): Objects {
  const api = { apiVersion: "admissionregistration.k8s.io/v1", metadata: { name } };
  const rule = { apiGroups: [""], apiVersions: ["v1"], operations: ["CREATE"], resources: ["pods/eviction"] };
  const expression = namespace === undefined ? "false" : `request.namespace != "${namespace}"`;
  const policy = {
    ...api,
    kind: "ValidatingAdmissionPolicy",
    spec: {
      matchConstraints: { resourceRules: [rule] },
      validations: [{ expression, message: "not tonight" }],
    },
  };
  const binding = {
    ...api,
    kind: "ValidatingAdmissionPolicyBinding",
    spec: { policyName: name, validationActions: ["Deny"] },
  };
  return [
    [policies, policy],
    [policies.replace("policies", "policybindings"), binding],
  ];
}
