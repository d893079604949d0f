// Fails the build when what a browser loads for the first page grows beyond the budget.
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";

const BUDGET_BYTES = 150_000;
const dist = new URL("../dist", import.meta.url).pathname;

function files(dir) {
  return readdirSync(dir).flatMap((name) => {
    const path = join(dir, name);
    return statSync(path).isDirectory() ? files(path) : [path];
  });
}

let total = 0;
for (const path of files(dist)) {
  if (path.endsWith(".map")) continue;
  total += gzipSync(readFileSync(path)).length;
}
console.log(`bundle: ${total} bytes gzipped, of ${BUDGET_BYTES}`);
if (total > BUDGET_BYTES) {
  console.error("bundle: over the budget");
  process.exit(1);
}
