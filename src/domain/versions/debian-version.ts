/**
 * Versions of Debian packages in the order of dpkg (Debian Policy 5.6.12; lib/dpkg/version.c, `verrevcmp`): an epoch, the
 * upstream version, and the revision of the packaging.
 */
export interface DebianVersion {
  /** 0 where none is written. */
  epoch: number;
  upstream: string;
  /** Empty where none is written, which is the same as `0`. */
  revision: string;
}

/** The largest epoch that dpkg reads: an int of C. */
const MOST_EPOCH = 2 ** 31 - 1;

/** The parts of a version; undefined when the text is not one. */
export function parseDebianVersion(text: string): DebianVersion | undefined {
  const [, epoch = "0", rest = ""] = /^(?:(\d{1,10}):)?(.*)$/s.exec(text) ?? [];
  const dash = rest.lastIndexOf("-");
  const upstream = dash < 0 ? rest : rest.slice(0, dash);
  const revision = dash < 0 ? "" : rest.slice(dash + 1);
  const isRevision = dash < 0 || /^[A-Za-z0-9+.~]+$/.test(revision);
  if (!/^\d[A-Za-z0-9.+~:-]*$/.test(upstream) || !isRevision || Number(epoch) > MOST_EPOCH) return undefined;
  if (upstream.includes(":") && rest === text) return undefined;
  return { epoch: Number(epoch), upstream, revision };
}

/** Negative when `a` is older than `b`, 0 when they are equal (`1.0` and `1.0-0`), positive when `a` is newer. */
export function compareDebianVersions(a: DebianVersion, b: DebianVersion): number {
  return a.epoch - b.epoch || comparePart(a.upstream, b.upstream) || comparePart(a.revision, b.revision);
}

/** Compares what is no number and what is one in turn, from the left. */
function comparePart(a: string, b: string): number {
  for (let i = 0, j = 0; i < a.length || j < b.length;) {
    while (isText(a[i]) || isText(b[j])) {
      const difference = weight(a[i]) - weight(b[j]);
      if (difference !== 0) return difference;
      i += 1;
      j += 1;
    }
    const [left, right] = [digitsAt(a, i), digitsAt(b, j)];
    const difference = compareNumbers(left, right);
    if (difference !== 0) return difference;
    i += left.length;
    j += right.length;
  }
  return 0;
}

/** A character that belongs to no number; the end belongs to neither. */
const isText = (character: string | undefined): boolean => character !== undefined && !/\d/.test(character);

/** The tilde is less than the end, which is less than letters, which are less than all else. */
function weight(character: string | undefined): number {
  if (character === undefined || /\d/.test(character)) return 0;
  if (character === "~") return -1;
  const code = character.charCodeAt(0);
  return /[A-Za-z]/.test(character) ? code : code + 256;
}

const digitsAt = (text: string, at: number): string => /^\d*/.exec(text.slice(at))?.[0] ?? "";

/** Numbers of any length, such as dates with times: no digit is lost to a number of JavaScript. */
function compareNumbers(a: string, b: string): number {
  const [left, right] = [a.replace(/^0+/, ""), b.replace(/^0+/, "")];
  if (left.length !== right.length) return left.length - right.length;
  return left < right ? -1 : left > right ? 1 : 0;
}
