// What the page costs: its heap after everything that nobody holds has gone, its nodes, and the processes that show it. Chromium only.

import { readFileSync } from 'node:fs';

import { descendants } from './sockets.js';

const sessions = new WeakMap();

export async function memory(page, browser) {
  if (!sessions.has(page)) sessions.set(page, await page.createCDPSession());
  await sessions.get(page).send('HeapProfiler.collectGarbage');
  const { JSHeapUsedSize, Nodes, JSEventListeners } = await page.metrics();
  return {
    heap_bytes: JSHeapUsedSize,
    nodes: Nodes,
    listeners: JSEventListeners,
    renderer_kb: renderers(browser.process().pid).reduce((sum, pid) => sum + residentKb(pid), 0),
    ...(await page.evaluate(playout)),
  };
}

/** Runs in the page: what became of the packets of all streams, and how long their sound waited; sums over all streams there ever were in the connections that stand. */
async function playout() {
  const sums = { jitter_delay_s: 0, emitted: 0, concealed: 0, packets: 0, lost: 0, discarded: 0, fec_packets: 0 };
  for (const peer of window.witness.peers) {
    if (peer.connectionState === 'closed') continue;
    for (const stats of (await peer.getStats()).values()) {
      if (stats.type !== 'inbound-rtp') continue;
      sums.jitter_delay_s += stats.jitterBufferDelay ?? 0;
      sums.emitted += stats.jitterBufferEmittedCount ?? 0;
      sums.concealed += stats.concealedSamples ?? 0;
      sums.packets += stats.packetsReceived ?? 0;
      sums.lost += stats.packetsLost ?? 0;
      sums.discarded += stats.packetsDiscarded ?? 0;
      sums.fec_packets += stats.fecPacketsReceived ?? 0;
    }
  }
  return sums;
}

function renderers(root) {
  return [...descendants(root)].filter((pid) => {
    try {
      return readFileSync(`/proc/${pid}/cmdline`, 'utf8').includes('--type=renderer');
    } catch {
      // It has ended meanwhile.
      return false;
    }
  });
}

function residentKb(pid) {
  try {
    return Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0);
  } catch {
    return 0;
  }
}
