// The browser's TCP connections, cut from under it as networks do: nobody is told goodbye.

import { execFileSync } from 'node:child_process';
import { readFileSync, readdirSync } from 'node:fs';

/** The local ports of a process's and its descendants' connections to a port. */
export function localPorts(pid, port) {
  const family = descendants(pid);
  const lines = execFileSync('ss', ['-tnpH', 'state', 'established', `( dport = :${port} )`], { encoding: 'utf8' }).split('\n');
  const own = lines.filter((line) => [...line.matchAll(/pid=(\d+)/g)].some(([, owner]) => family.has(Number(owner))));
  return new Set(own.map((line) => Number(/:(\d+)\s/.exec(line)?.[1])));
}

export function cut(localPort) {
  execFileSync('ss', ['-KH', `( sport = :${localPort} )`], { stdio: ['ignore', 'ignore', 'ignore'] });
}

/** The ids of a process and everything it has started. */
export function descendants(root) {
  const parents = new Map();
  for (const name of readdirSync('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    try {
      // The name in parentheses may hold anything; state and parent come after it.
      const [, parent] = readFileSync(`/proc/${name}/stat`, 'utf8').split(') ').at(-1).split(' ');
      parents.set(Number(name), Number(parent));
    } catch {
      // It has ended meanwhile.
    }
  }
  const found = new Set([root]);
  let before = 0;
  while (before !== found.size) {
    before = found.size;
    for (const [pid, parent] of parents) if (found.has(parent)) found.add(pid);
  }
  return found;
}
