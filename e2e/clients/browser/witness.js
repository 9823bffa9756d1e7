// What is put into the page before its own code runs: it writes down what the page says and hears, and changes nothing. One
// function, because it goes into the page as text.

/** `tell(event, fields)` is the bot's, from `exposeFunction`. */
export function witness() {
  const sockets = [];
  const peers = [];

  const kindOf = (url) => (new URL(url).pathname.startsWith('/voice') || new URL(url).protocol === 'wss:' ? 'voice' : 'gateway');
  const bytesOf = (text) => new TextEncoder().encode(text).length;
  const opOf = (text) => {
    try {
      return JSON.parse(text).op ?? null;
    } catch {
      return null;
    }
  };

  const Socket = window.WebSocket;
  window.WebSocket = class WebSocket extends Socket {
    constructor(url, protocols) {
      super(url, ...(protocols === undefined ? [] : [protocols]));
      this.witnessed = { kind: kindOf(this.url), frames: [], isOpen: true };
      sockets.push(this.witnessed);
      this.addEventListener('open', () => window.tellBot('socket', { kind: this.witnessed.kind, is: 'open' }));
      this.addEventListener('close', ({ code }) => {
        this.witnessed.isOpen = false;
        window.tellBot('socket', { kind: this.witnessed.kind, is: 'closed', code });
      });
      this.addEventListener('message', ({ data }) => this.note('received', data));
    }

    send(data) {
      this.note('sent', data);
      super.send(data);
    }

    note(way, data) {
      if (typeof data !== 'string' || this.witnessed.kind !== 'voice') return;
      const op = opOf(data);
      this.witnessed.frames.push({ way, op, bytes: bytesOf(data) });
      if (way === 'received' && op === 9) window.tellBot('voice_resumed', {});
    }
  };

  const Peer = window.RTCPeerConnection;
  window.RTCPeerConnection = class RTCPeerConnection extends Peer {
    constructor(...args) {
      super(...args);
      peers.push(this);
      this.addEventListener('connectionstatechange', () => window.tellBot('peer', { state: this.connectionState }));
    }
  };

  addEventListener('securitypolicyviolation', (event) => {
    window.tellBot('trouble', { kind: 'csp', text: `${event.violatedDirective} ${event.blockedURI}` });
  });

  // The page's own view of its stay in voice, whenever it changes.
  let last = '';
  setInterval(() => {
    const voice = window.guildhall?.snapshot().voice;
    const now = JSON.stringify({ phase: voice?.phase ?? 'disconnected', channel: voice?.channelId ?? null, end: voice?.end ?? null });
    if (now !== last) window.tellBot('voice', JSON.parse(now));
    last = now;
  }, 20);

  /** Whose element it is in the tree that assistive programs see; what a browser does with it, as far as this page needs it. */
  const ROLES = {
    A: 'link', ASIDE: 'complementary', BUTTON: 'button', DIALOG: 'dialog', H1: 'heading', H2: 'heading', LI: 'listitem', MAIN: 'main',
    NAV: 'navigation', SELECT: 'combobox', TEXTAREA: 'textbox', UL: 'list',
  };
  const INPUTS = { checkbox: 'checkbox', radio: 'radio', range: 'slider' };
  const roleOf = (element) => element.getAttribute('role') ?? (element.tagName === 'INPUT' ? (INPUTS[element.type] ?? 'textbox') : (ROLES[element.tagName] ?? null));
  const nameOf = (element) => {
    const label = element.getAttribute('aria-label') ?? element.labels?.[0]?.textContent ?? element.textContent;
    return (label ?? '').replace(/\s+/g, ' ').trim();
  };

  /** Its sound begins with this, which matters where it comes from a file. */
  const devices = navigator.mediaDevices;
  const getUserMedia = devices?.getUserMedia.bind(devices);
  if (devices !== undefined) {
    devices.getUserMedia = async (constraints) => {
      const stream = await getUserMedia(constraints);
      window.tellBot('microphone', {});
      return stream;
    };
  }

  /** Inbound streams of the connections that stand, by SSRC. */
  async function streams() {
    const found = {};
    for (const peer of peers) {
      if (peer.connectionState === 'closed') continue;
      for (const stats of (await peer.getStats()).values()) {
        if (stats.type !== 'inbound-rtp') continue;
        found[stats.ssrc] = { packets: stats.packetsReceived ?? 0, lost: stats.packetsLost ?? 0, track: stats.trackIdentifier };
      }
    }
    return found;
  }

  window.witness = {
    peers,
    streams,
    /** What the last voice WebSocket carried. */
    frames: () => sockets.filter(({ kind }) => kind === 'voice').at(-1)?.frames ?? [],
    find(role, pattern) {
      const name = new RegExp(pattern, 'u');
      const all = document.querySelectorAll('[role], a, aside, button, dialog, h1, h2, input, li, main, nav, select, textarea, ul');
      const shown = (element) => element.checkVisibility?.({ visibilityProperty: true }) ?? element.getClientRects().length > 0;
      return [...all].find((element) => roleOf(element) === role && name.test(nameOf(element)) && shown(element)) ?? null;
    },
    /** `text` is no role, but whatever can be read anywhere on the page. */
    see(role, pattern) {
      if (role === 'text') return new RegExp(pattern, 'u').test(document.body.innerText) ? { role } : null;
      const element = this.find(role, pattern);
      return element === null ? null : { role, name: nameOf(element), pressed: element.getAttribute('aria-pressed'), value: element.value ?? null };
    },
    focused() {
      const element = document.activeElement;
      return element === null ? null : { role: roleOf(element), name: nameOf(element) };
    },
    /** Every element that has a role, for the story of a failure. */
    tree() {
      const all = document.querySelectorAll('button, [role], input, h1, h2, textarea');
      return [...all].map((element) => `${roleOf(element)} ${nameOf(element).slice(0, 60)}`);
    },
  };
}
