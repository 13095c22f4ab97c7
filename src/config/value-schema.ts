/** Values that keys of several kinds have. */
import { z } from "zod";
import type { Json } from "../domain/model/canonical.ts";

export const text = z.string().min(1);
export const count = (least: number) => z.int().min(least);
export const image = text
  .regex(
    /^[a-z0-9][a-z0-9.-]*-v\d+\.\d+\.\d+(-[0-9a-z.-]+)?$/,
    "must be the name of a template with its version, such as ubuntu-24.04-rke2-v1.0.0",
  )
  .meta({ values: "name of a template with its version, such as `ubuntu-24.04-rke2-v1.0.0`" });
export const json = z.json() as z.ZodType<Json>;
/**
 * The prefix is a DNS name of at most 253 characters (`IsQualifiedName`); a node with any other label cannot register.
 */
export const labelName =
  /^(?:(?=[^/]{1,253}\/)[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*\/)?[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$/;
export const labelValue = /^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$/;
/** Whether a text is a valid taint: a kubelet does not start with an invalid one. */
const isTaint = (value: string): boolean => {
  const [, key = "", given = ""] =
    /^([^=:]+)(?:=([^=:]*))?:(?:NoSchedule|PreferNoSchedule|NoExecute)$/.exec(value) ?? [];
  return labelName.test(key) && labelValue.test(given);
};
export const taint = text
  .refine(isTaint, "must be written as key=value:NoSchedule, key and value as those of a label")
  .meta({ values: "`key=value:Effect` or `key:Effect` with `NoSchedule`, `PreferNoSchedule` or `NoExecute`" });
