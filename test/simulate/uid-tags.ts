import assert from "node:assert/strict";
import type { Vm } from "./data-centre.ts";

const isUidTag = (tag: string): boolean => tag.startsWith("eg-uid-");

/** The tags that say of which cluster a VM is. */
export function uidTags({ tags }: Vm): string[] {
  return tags.filter(isUidTag);
}

/** People do what a message says: `qm set` with the tag that it names in the place of the VM's own. @param why the message */
export function giveNamedTag(why: string, vms: readonly Vm[]): void {
  const tag = /gets the tag (eg-uid-\w+) in the place of its own/.exec(why)?.[1];
  assert.ok(tag, why);
  for (const vm of vms) {
    vm.tags = vm.tags.map((one) => (isUidTag(one) ? tag : one));
    vm.revision += 1;
  }
}
