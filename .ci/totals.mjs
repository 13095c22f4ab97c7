import { appendFileSync } from "node:fs";
import { createRequire } from "node:module";

const { Spec } = createRequire(import.meta.url)("mocha").reporters;

/** mocha's own report, and its totals and failures for whoever reads the end of a long log. */
export default class Totals extends Spec {
  constructor(runner, options) {
    super(runner, options);
    const { EVERGREEN_TOTALS: totals, EVERGREEN_FAILURES: failed } = process.env;
    runner.on("fail", (test, error) => {
      if (failed) appendFileSync(failed, `FAILED: ${test.fullTitle()}\n${error.stack ?? error.message}\n\n`);
    });
    runner.once("end", () => {
      const { passes, failures } = this.stats;
      if (totals) appendFileSync(totals, `${passes} passed, ${failures} failed\n`);
    });
  }
}
