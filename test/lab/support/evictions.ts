/** Objects, each with the path of the collection that it belongs to. */
type Objects = [collection: string, object: object][];

const policies = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies";
const name = "no-evictions";

/** The policy that `evictionDenial` makes: evictions are denied until it is deleted. */
export const denialPath = `${policies}/${name}`;

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
