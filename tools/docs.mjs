// `npm run docs`: writes the pages and types that are made from the program.
import { writeFileSync } from "node:fs";
import { argumentsSource } from "../src/config/arguments.ts";
import { stackSchemaSource } from "../src/config/editor-schema.ts";
import { imageKeysPage, imageSchemaSource } from "../src/config/image-page.ts";
import { configurationPage } from "../src/config/page.ts";

const write = (path, text) => writeFileSync(new URL(`../${path}`, import.meta.url), text);
write("docs/configuration.md", configurationPage());
write("docs/stack.schema.json", stackSchemaSource());
write("docs/image-keys.md", imageKeysPage());
write("docs/image.schema.json", imageSchemaSource());
write("components/cluster-args.ts", argumentsSource());
