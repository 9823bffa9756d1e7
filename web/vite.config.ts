import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';
import { defineConfig, type Plugin } from 'vite';

/** Of everything that is built, compressed by gzip: a phone on a bad network shall not wait for the page. */
const PAGES_KB_MAX = 300;
/** What compression makes smaller; below this length it does not. */
const TEXT = /\.(html|js|css|svg|json|webmanifest)$/;
const SMALL_BYTES = 200;

/** Writes each file's compressed forms beside it, which the gateway sends to browsers that read them. */
function compressed(): Plugin {
  let folder = 'dist';
  return {
    name: 'compressed',
    apply: 'build',
    configResolved: ({ root, build }) => void (folder = join(root, build.outDir)),
    closeBundle() {
      let bytes = 0;
      for (const name of readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => TEXT.test(name))) {
        const plain = readFileSync(join(folder, name));
        const gzip = gzipSync(plain, { level: 9 });
        bytes += gzip.length;
        if (plain.length < SMALL_BYTES) continue;
        writeFileSync(join(folder, `${name}.gz`), gzip);
        const parameters = { [constants.BROTLI_PARAM_SIZE_HINT]: plain.length };
        writeFileSync(join(folder, `${name}.br`), brotliCompressSync(plain, { params: parameters }));
      }
      if (bytes > PAGES_KB_MAX * 1024) this.error(`the pages have ${Math.round(bytes / 1024)} KB compressed, and may have ${PAGES_KB_MAX}`);
    },
  };
}

export default defineConfig({
  // Relative, so that the pages also work below a path of a proxy.
  base: './',
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  plugins: [compressed()],
  build: {
    target: 'es2023',
    // The gateway's content security policy allows files of its own only, no data: scripts.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rolldownOptions: { input: ['index.html', 'example.html'] },
  },
});
