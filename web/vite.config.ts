import { defineConfig } from 'vite';

export default defineConfig({
  // Relative, so that the pages also work below a path of a proxy.
  base: './',
  oxc: { jsx: { runtime: 'automatic', importSource: 'preact' } },
  build: {
    target: 'es2023',
    // The gateway's content security policy allows files of its own only, no data: scripts.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rolldownOptions: { input: ['index.html', 'example.html'] },
  },
});
