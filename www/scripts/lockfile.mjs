// The lock file must name no registry: it has to install from any mirror.
import { readFileSync } from "node:fs";

const lock = JSON.parse(readFileSync(new URL("../package-lock.json", import.meta.url), "utf8"));
const bad = Object.entries(lock.packages).filter(([, entry]) => entry.resolved !== undefined);
for (const [path] of bad) console.error(`package-lock.json: ${path} has a "resolved" address`);
process.exit(bad.length === 0 ? 0 : 1);
