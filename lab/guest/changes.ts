/** Commands that change a guest: what people type, and what defects of an image are planted with. */
import type { Exit } from "./agent-exec.ts";
import type { GuestFiles } from "./files.ts";
import { holdPackage } from "./packages.ts";
import { disableUnit, enableUnit, failUnit, maskUnit, startUnit, stopUnit, unmaskUnit } from "./units.ts";

type Change = (files: GuestFiles, words: string[]) => string | Exit;

const switches = {
  enable: enableUnit,
  disable: disableUnit,
  mask: maskUnit,
  unmask: unmaskUnit,
  start: startUnit,
  stop: stopUnit,
} as const;

/** What a command does, by its whole text. A group of the expression is a word. */
export const changes: readonly [RegExp, Change][] = [
  [/^(?:mkdir -p "\$\(dirname (?:\/\S+)\)" && )?echo '?([^']*?)'? ?(>>?)(\/\S+)$/, writeLine],
  [/^printf '([^']*)' >(\/\S+)$/, (files, [text = "", path = ""]) => put(files, path, text.replaceAll("\\n", "\n"))],
  [/^head -c (\d+) \/dev\/zero >(\/\S+)$/, (files, [count, path = ""]) => put(files, path, "\0".repeat(Number(count)))],
  [/^rm (?:-f )?(\/\S+)$/, (files, [path = ""]) => drop(files, path)],
  [/^chmod (\d+) (\/\S+)$/, (files, [mode = "", path = ""]) => put(files, `/var/lib/modes${path}`, `${mode}\n`)],
  [/^sed -i 's\/(.+)\/(.+)\/' (\/\S+)$/, replace],
  [
    /^systemctl (enable|disable|mask|unmask|start|stop)(?: --no-block)? ([^;]+?)(?:; sleep \d+)?$/,
    (files, [verb, units = ""]) => {
      for (const unit of units.split(/\s+/)) switches[verb as keyof typeof switches](files, unit);
      return "";
    },
  ],
  [/^systemd-run --quiet --unit (\S+) false(?:; sleep \d+)?$/, (files, [name]) => fail(files, name)],
  [/^apt-mark hold (\S+)$/, hold],
  [/^sysctl -q -w (\S+?)=(\S+)$/, (files, [name = "", value = ""]) => put(files, `/run/sysctl/${name}`, `${value}\n`)],
  [/^modprobe -r (\S+)$/, (files, [name = ""]) => put(files, `/run/modules-removed/${name}`, "")],
  [/^useradd -m (\S+)$/, (files, [name = ""]) => put(files, `/home/${name}/.profile`, "")],
  [
    /^userdel (\S+)$/,
    (files, [name = ""]) => editLines(files, "/etc/passwd", (line) => (line.startsWith(`${name}:`) ? [] : [line])),
  ],
  [/^usermod -p '([^']+)' (\S+)$/, setPassword],
];

function drop(files: GuestFiles, path: string): string {
  files.remove(path);
  return "";
}

function fail(files: GuestFiles, name = ""): string {
  failUnit(files, `${name}.service`);
  return "";
}

function put(files: GuestFiles, path: string, content: string): string {
  files.put(path, content);
  return "";
}

function writeLine(files: GuestFiles, [text = "", how = "", path = ""]: string[]): string {
  return put(files, path, `${how === ">>" ? files.text(path) : ""}${text}\n`);
}

function replace(files: GuestFiles, [pattern = "", text = "", path = ""]: string[]): string | Exit {
  const content = files.get(path)?.toString();
  if (content === undefined) return { code: 2, err: `sed: can't read ${path}: No such file or directory\n` };
  // Braces are themselves in the patterns of sed.
  const expression = new RegExp(pattern.replace(/[{}]/g, "\\$&"));
  return put(
    files,
    path,
    content
      .split("\n")
      .map((line) => line.replace(expression, () => text))
      .join("\n"),
  );
}

function hold(files: GuestFiles, [name = ""]: string[]): string {
  holdPackage(files, name);
  return `${name} set on hold.\n`;
}

function setPassword(files: GuestFiles, [hash = "", name = ""]: string[]): string {
  return editLines(files, "/etc/shadow", (line) => {
    const [account, , ...rest] = line.split(":");
    return [account === name ? [account, hash, ...rest].join(":") : line];
  });
}

function editLines(files: GuestFiles, path: string, edit: (line: string) => string[]): string {
  return put(files, path, files.text(path).split("\n").flatMap(edit).join("\n"));
}
