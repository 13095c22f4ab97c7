// `npm run docs`: writes the pages that are made from the program.
import { writeFileSync } from "node:fs";
import { configurationPage } from "../src/config/page.ts";

writeFileSync(new URL("../docs/configuration.md", import.meta.url), configurationPage());
