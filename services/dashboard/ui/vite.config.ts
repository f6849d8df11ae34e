import { createHash } from "node:crypto";
import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { defineConfig, type Plugin } from "vite";

const HERE = import.meta.dirname;
const INPUTS = ["index.html", "login.html", "package.json", "package-lock.json", "tsconfig.json", "vite.config.ts"];

/** What the bundle was made from: a test compares it with the sources and says when the bundle is stale. */
function sourcesHash(): string {
  const sources = readdirSync(join(HERE, "src")).map((name) => `src/${name}`);
  const hash = createHash("sha256");
  for (const path of [...INPUTS, ...sources].sort()) {
    hash.update(`${path}\0`).update(readFileSync(join(HERE, path))).update("\0");
  }
  return hash.digest("hex");
}

const madeFrom: Plugin = {
  name: "made-from",
  generateBundle() {
    const source = `${JSON.stringify({ sources_sha256: sourcesHash() })}\n`;
    this.emitFile({ type: "asset", fileName: "made_from.json", source });
  },
};

export default defineConfig({
  base: "/dashboard/",
  plugins: [madeFrom],
  build: {
    target: "es2022",
    assetsInlineLimit: 0, // the page's own content security policy allows no data: URLs
    modulePreload: { polyfill: false },
    rollupOptions: { input: { index: join(HERE, "index.html"), login: join(HERE, "login.html") } },
  },
});
