#!/usr/bin/env node
import { launch } from "./launch.mjs";

// Packages of providers call `pulumi plugin install` while npm installs them. Our own set-up does that, elsewhere.
if (["preinstall", "install", "postinstall"].includes(process.env.npm_lifecycle_event ?? "")) process.exit(0);

await launch("../pulumi.ts");
