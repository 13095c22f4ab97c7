import { existsSync, readlinkSync, renameSync, rmSync, symlinkSync } from "node:fs";

/** Makes `link` point to `target` atomically: another process sees either the old target or the new one. */
export function putLink(link: string, target: string): void {
  if (existsSync(link) && readlinkSync(link) === target) return;
  const draft = `${link}.${process.pid}`;
  rmSync(draft, { force: true });
  symlinkSync(target, draft);
  renameSync(draft, link);
}
