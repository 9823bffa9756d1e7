// Imports point down: protocol, session, media, and on top the pages. The lower layers are what another client is built from.

import { readFileSync, readdirSync } from 'node:fs';
import { join, relative, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';

const ROOT = resolve(import.meta.dirname, '..');
const LAYERS = ['src/protocol', 'src/session', 'src/media', 'src/app'];
/** What a layer may import from packages. */
const PACKAGES: Record<string, string[]> = {
  'src/protocol': [],
  'src/session': [],
  'src/media': [],
  'src/app': ['preact', 'preact/hooks', '@preact/signals'],
  example: [],
};
/** What only browsers have, and what changes with every look: deciding needs neither. */
const WORLDLY = /\b(window|document|navigator|WebSocket|RTCPeerConnection|fetch|setTimeout|setInterval|localStorage|Math\.random|Date\.now|performance)\b/;
const LINES_MAX = 300;

function files(folder: string): string[] {
  return readdirSync(join(ROOT, folder), { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile() && /\.tsx?$/.test(entry.name))
    .map((entry) => relative(ROOT, join(entry.parentPath, entry.name)));
}

function imports(file: string): string[] {
  const text = readFileSync(join(ROOT, file), 'utf8');
  return [...text.matchAll(/(?:from|import)\s+'([^']+)'|import\('([^']+)'\)/g)].map((match) => match[1] ?? match[2] ?? '');
}

const layerOf = (path: string) => LAYERS.findIndex((layer) => path.startsWith(`${layer}/`));
const isTest = (file: string) => file.endsWith('.test.ts');

describe.each(LAYERS)('%s', (layer) => {
  it('imports only from its own layer and those below', () => {
    for (const file of files(layer).filter((file) => !isTest(file))) {
      for (const from of imports(file)) {
        if (!from.startsWith('.')) {
          expect(PACKAGES[layer], `${file} imports ${from}`).toContain(from);
          continue;
        }
        const target = layerOf(relative(ROOT, resolve(ROOT, file, '..', from)));
        expect(target, `${file} imports ${from}`).toBeGreaterThanOrEqual(0);
        expect(target, `${file} imports ${from}`).toBeLessThanOrEqual(LAYERS.indexOf(layer));
      }
    }
  });
});

it('protocol and session touch no browser, no clock and no chance', () => {
  for (const file of [...files('src/protocol'), ...files('src/session')].filter((file) => !isTest(file))) {
    const code = readFileSync(join(ROOT, file), 'utf8').replaceAll(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, '');
    expect(WORLDLY.exec(code)?.[0], file).toBeUndefined();
  }
});

it('the example uses the lower layers only', () => {
  for (const file of files('example')) {
    for (const from of imports(file)) {
      const target = layerOf(relative(ROOT, resolve(ROOT, file, '..', from)));
      expect(target >= 0 && target < LAYERS.indexOf('src/app'), `${file} imports ${from}`).toBe(true);
    }
  }
});

it('files are short enough to be read at once', () => {
  for (const file of [...LAYERS, 'example', 'test'].flatMap(files)) {
    const count = readFileSync(join(ROOT, file), 'utf8').split('\n').length - 1;
    expect(count, file).toBeLessThanOrEqual(LINES_MAX);
  }
});
