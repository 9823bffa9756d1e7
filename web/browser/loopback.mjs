// node loopback.mjs: the media layer against a page's own peer connection, in each browser there is.

import assert from 'node:assert/strict';
import { fileURLToPath } from 'node:url';
import { createServer } from 'vite';

import { hasFirefox, launchChromium, launchFirefox } from './launch.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const vite = await createServer({ root, logLevel: 'error', server: { port: 5199 }, appType: 'mpa', optimizeDeps: { noDiscovery: true } });
await vite.listen();

async function check(name, launch) {
  const browser = await launch();
  try {
    const page = await browser.newPage();
    page.on('console', (message) => ['warn', 'error'].includes(message.type()) && console.log(name, message.text()));
    page.on('pageerror', (error) => console.log(name, 'error', error.message));
    await page.goto('http://localhost:5199/browser/loopback.html', { timeout: 20_000 });
    await page.waitForFunction('typeof run === "function"');
    const result = await page.evaluate('run()');
    if (process.env.VERBOSE) console.log(name, JSON.stringify(result));
    const near = (heard, hz) => assert.ok(heard !== null && heard.rms > 0.01 && Math.abs(heard.peakHz - hz) < 40, `${name}: ${hz} Hz, but ${JSON.stringify(heard)}`);
    assert.equal(result.states[0], 'up');
    near(result.two['7'], 440);
    near(result.two['8'], 660);
    near(result.one['7'], 440);
    near(result.again['7'], 440);
    near(result.again['9'], 880);
    near(result.anew['7'], 440);
    near(result.anew['9'], 880);
    const directions = (list) => list.map((section) => section.direction).join(' ');
    assert.equal(directions(result.sectionsOfTwo), 'sendrecv recvonly recvonly');
    assert.equal(directions(result.sectionsOfOne), 'sendrecv recvonly recvonly');
    assert.equal(directions(result.sectionsOfAgain), 'sendrecv recvonly recvonly');
    assert.equal(directions(result.sectionsOfAnew), 'sendrecv recvonly recvonly');
    assert.ok(result.loudestAtServer > 0.001, `${name}: the server heard ${result.loudestAtServer}`);
    assert.ok(result.stats.rttMs !== null);
  } finally {
    await browser.close();
  }
}

try {
  await check('chromium', launchChromium);
  if (hasFirefox()) await check('firefox', launchFirefox);
  console.log('ok');
} finally {
  await vite.close();
}
