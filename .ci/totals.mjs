import { appendFileSync } from "node:fs";
import { createRequire } from "node:module";

const { Spec } = createRequire(import.meta.url)("mocha").reporters;

/** mocha's own report, and its totals for whoever counts them. */
export default class Totals extends Spec {
  constructor(runner, options) {
    super(runner, options);
    const file = process.env.EVERGREEN_TOTALS;
    runner.once("end", () => {
      const { passes, failures } = this.stats;
      if (file) appendFileSync(file, `${passes} passed, ${failures} failed\n`);
    });
  }
}
