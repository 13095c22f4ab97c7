// Plain JavaScript: npm runs it right after an installation, with whatever Node the machine has.
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { basename, dirname, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { linkOwnNode } from "./own-node.mjs";

const root = resolve(dirname(fileURLToPath(import.meta.url)), "..");

/**
 * What is bundled: the steps, whose start has to be quick, and the plugin, which runs outside of the project and is one
 * file. What few steps need is in files of its own beside the bundle (`late`), which load the packages that sign.
 */
export const bundles = {
  step: { entry: "src/steps/main.ts", out: "dist/step.mjs", late: ["@sigstore/*", "@cyclonedx/*"] },
  commandPlugin: { entry: "tools/command-plugin/main.ts", out: "dist/command-plugin.mjs", late: [] },
};

const banner = `import { createRequire as __createRequire } from "node:module";
const require = __createRequire(import.meta.url);`;

/** Bundles what is missing or older than one of its inputs. Returns the paths that were written. */
export async function bundle({ force = false } = {}) {
  const stale = Object.values(bundles).filter(
    ({ entry, out }) => existsSync(join(root, entry)) && (force || isStale(out)),
  );
  for (const one of stale) await write(one);
  return stale.map(({ out }) => join(root, out));
}

/** The inputs of the last bundling are remembered beside the bundle. */
function isStale(out) {
  const file = join(root, out);
  const list = `${file}.inputs.json`;
  if (!existsSync(file) || !existsSync(list)) return true;
  const built = statSync(file).mtimeMs;
  const inputs = JSON.parse(readFileSync(list, "utf8"));
  return inputs.some((input) => (statSync(join(root, input), { throwIfNoEntry: false })?.mtimeMs ?? Infinity) > built);
}

async function write({ entry, out, late }) {
  // Loaded late: a start that finds everything fresh does not pay for it.
  const { build } = createRequire(import.meta.url)("esbuild");
  const started = new Date();
  const result = await build({
    absWorkingDir: root,
    entryPoints: { [basename(out, ".mjs")]: entry },
    bundle: true,
    splitting: late.length > 0,
    external: late,
    chunkNames: `${basename(out, ".mjs")}-[hash]`,
    outExtension: { ".js": ".mjs" },
    outdir: dirname(out),
    platform: "node",
    target: "node24",
    format: "esm",
    banner: { js: banner },
    legalComments: "none",
    logLevel: "error",
    metafile: true,
    write: false,
  });
  const file = join(root, out);
  mkdirSync(dirname(file), { recursive: true });
  const main = result.outputFiles.find(({ path }) => path === file);
  // Their names have their digests: who still runs an older bundle finds the files of that, for a day.
  const others = result.outputFiles.filter(({ path }) => path !== file);
  for (const { path, contents } of others) {
    writeFileSync(`${path}.${process.pid}.tmp`, contents);
    renameSync(`${path}.${process.pid}.tmp`, path);
  }
  removeOld(dirname(file), new RegExp(`^${basename(out, ".mjs")}-\\w+\\.mjs$`));
  // Renamed into place, and dated before the inputs were read: a reader never sees half a bundle, nor an outdated one as fresh.
  const half = `${file}.${process.pid}.tmp`;
  try {
    writeFileSync(half, main.contents);
    const inputs = Object.keys(result.metafile.inputs).map((path) => relative(root, resolve(root, path)));
    writeFileSync(`${half}.json`, JSON.stringify([...inputs, "tools/bundle.mjs", "package-lock.json"]));
    renameSync(`${half}.json`, `${file}.inputs.json`);
    utimesSync(half, started, started);
    renameSync(half, file);
  } finally {
    rmSync(half, { force: true });
    rmSync(`${half}.json`, { force: true });
  }
}

/** Removes files of earlier bundles. */
function removeOld(folder, names) {
  const dayAgo = Date.now() - 86_400_000;
  for (const name of readdirSync(folder).filter((one) => names.test(one))) {
    const age = statSync(join(folder, name), { throwIfNoEntry: false })?.mtimeMs ?? dayAgo;
    if (age < dayAgo) rmSync(join(folder, name), { force: true });
  }
}

// `npm run prepare`
if (process.argv[1] === fileURLToPath(import.meta.url)) {
  linkOwnNode();
  await bundle();
}
