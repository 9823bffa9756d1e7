// node loss.mjs: Chromium asks for what it loses and sends once more what it is asked for, and it reads packets with redundancy.

import assert from 'node:assert/strict';
import dgram from 'node:dgram';
import { fileURLToPath } from 'node:url';
import { createServer } from 'vite';

import { launchChromium } from './launch.mjs';

const RED = 63;
const OPUS = 111;

const root = fileURLToPath(new URL('..', import.meta.url));
const vite = await createServer({ root, logLevel: 'error', server: { port: 5198 }, appType: 'mpa', optimizeDeps: { noDiscovery: true } });
await vite.listen();

const isMedia = (datagram) => datagram[0] >= 128 && datagram[0] < 192 && !(datagram[1] >= 192 && datagram[1] <= 223);

/** A port whose datagrams go to `to` and back, but for every tenth packet of media each way. Counts payload types on the way back. */
function lossy(to, types) {
  const front = dgram.createSocket('udp4').unref();
  const back = dgram.createSocket('udp4').unref();
  const counts = { up: 0, down: 0 };
  const isLost = (way, datagram) => isMedia(datagram) && ++counts[way] % 10 === 0;
  let client = null;
  front.on('message', (datagram, from) => {
    client = from.port;
    if (!isLost('up', datagram)) back.send(datagram, to, '127.0.0.1');
  });
  back.on('message', (datagram) => {
    if (isMedia(datagram)) types.add(datagram[1] & 127);
    if (client !== null && !isLost('down', datagram)) front.send(datagram, client, '127.0.0.1');
  });
  return new Promise((resolve) => front.bind(0, '127.0.0.1', () => resolve(front.address().port)));
}

const browser = await launchChromium();
try {
  for (const redundant of [false, true]) {
    const types = new Set();
    const page = await browser.newPage();
    page.on('pageerror', (error) => console.log('error', error.message));
    await page.exposeFunction('proxied', (port) => lossy(port, types));
    await page.goto('http://localhost:5198/browser/loss.html', { timeout: 20_000 });
    await page.waitForFunction('typeof run === "function"');
    const result = await page.evaluate(`run(${redundant})`);
    if (process.env.VERBOSE) console.log(JSON.stringify(result));
    assert.deepEqual([...types], [redundant ? RED : OPUS]);
    assert.ok(result.heard?.rms > 0.01 && Math.abs(result.heard.peakHz - 440) < 40, JSON.stringify(result));
    assert.ok(result.asked > 0 && result.resent > 0, JSON.stringify(result));
    // What the browser sent in vain came when it was asked for.
    assert.ok(result.asks > 0 && result.missing < result.asks, JSON.stringify(result));
    await page.close();
  }
  console.log('ok');
} finally {
  await browser.close();
  await vite.close();
}
