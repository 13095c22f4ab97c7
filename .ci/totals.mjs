import { appendFileSync } from "node:fs";
import { createRequire } from "node:module";

const { Spec } = createRequire(import.meta.url)("mocha").reporters;

/** mocha's own report, and its totals and failures for whoever reads the end of a long log. */
export default class Totals extends Spec {
  constructor(runner, options) {
    super(runner, options);
    const { EVERGREEN_TOTALS: totals, EVERGREEN_FAILURES: failed } = process.env;
    runner.on("fail", (test, error) => {
      const [reason] = error.message.split("\n", 1);
      const title = `FAILED: ${test.fullTitle()}: ${reason.slice(0, 300)}`;
      if (failed) appendFileSync(failed, `${title}\n${error.stack ?? error.message}\n\n`);
    });
    runner.once("end", () => {
      const { passes, failures } = this.stats;
      if (totals) appendFileSync(totals, `${passes} passed, ${failures} failed\n`);
    });
  }
}
