// Between a browser's session descriptions and the protocol's fragments: what of a local offer the server is told, and the
// answer that the browser is told in the server's place. Text in, text out; made to be read next to section 5 of the protocol.
//
// There is one transport for everything. The first section carries the microphone, each further one the stream of one
// remote user; adding one is a matter between this file and the browser, the server hears nothing of it.

import type { Id } from '../protocol/objects';

export interface ServerFragment {
  ip: string;
  port: number;
  fingerprint: string;
  ufrag: string;
  password: string;
  candidates: string[];
}

/** Whose stream a section carries. */
export interface RemoteStream {
  userId: Id;
  ssrc: number;
}

export interface Section {
  kind: string;
  mid: string;
  direction: string;
  lines: string[];
}

const OPUS = 'opus/48000/2';

/**
 * Header extensions that are of use between a client and this server. Without feedback the ones for congestion control
 * only cost bytes, and so does the level where silence is not sent.
 */
const EXTENSIONS = ['urn:ietf:params:rtp-hdrext:sdes:mid'];

/** Discontinuous transmission: a silent microphone costs next to nothing. Error correction hides single losses. */
const OPUS_PARAMETERS = 'minptime=10;useinbandfec=1;usedtx=1';

export function lines(sdp: string): string[] {
  return sdp.split(/\r?\n/).filter((line) => line !== '');
}

/** The sections that begin with m=, in their order. */
export function sections(sdp: string): Section[] {
  const found: Section[] = [];
  for (const line of lines(sdp)) {
    if (line.startsWith('m=')) {
      found.push({ kind: line.slice(2, line.indexOf(' ')), mid: '', direction: 'sendrecv', lines: [] });
    }
    const section = found.at(-1);
    if (section === undefined) continue;
    section.lines.push(line);
    if (line.startsWith('a=mid:')) section.mid = line.slice('a=mid:'.length);
    if (/^a=(sendrecv|sendonly|recvonly|inactive)$/.test(line)) section.direction = line.slice(2);
  }
  return found;
}

/** The payload type that a description gives a codec. */
function payloadType(description: string[], codec: string): number | null {
  for (const line of description) {
    const match = /^a=rtpmap:(\d+) (.+)$/.exec(line);
    if (match?.[1] !== undefined && match[2]?.toLowerCase() === codec.toLowerCase()) return Number(match[1]);
  }
  return null;
}

/** What the server is told of a local offer: the facts that it needs, each once. Everything else is the same for every browser. */
export function clientFragment(offer: string): string {
  const kept = lines(offer).filter(
    (line) => /^a=(ice-ufrag|ice-pwd|fingerprint):/.test(line) || /^a=rtpmap:\d+ opus\//i.test(line),
  );
  return [...new Set(kept)].join('\n');
}

/** The stream that the microphone's section announces; 0 where it announces none. */
export function microphoneSsrc(offer: string): number {
  const line = sections(offer)[0]?.lines.find((line) => line.startsWith('a=ssrc:'));
  return line === undefined ? 0 : Number.parseInt(line.slice('a=ssrc:'.length), 10);
}

/** Says of every section that it takes stereo: bots play music, and a browser that is not asked decodes to one channel. */
export function takeStereo(offer: string): string {
  const opus = payloadType(lines(offer), OPUS);
  return offer.replaceAll(new RegExp(`^(a=fmtp:${opus} .*)$`, 'gm'), (line) => {
    const end = line.endsWith('\r') ? '\r' : '';
    return line.includes('stereo=1') ? line : `${line.trimEnd()};stereo=1${end}`;
  });
}

/** The server's end of the transport, or null where something of it is missing. */
export function readServerFragment(text: string): ServerFragment | null {
  const all = lines(text);
  const value = (prefix: string): string | null =>
    all.find((line) => line.startsWith(prefix))?.slice(prefix.length).trim() ?? null;
  const ip = /^IN IP[46] (\S+)$/.exec(value('c=') ?? '')?.[1];
  const fingerprint = value('a=fingerprint:');
  const ufrag = value('a=ice-ufrag:');
  const password = value('a=ice-pwd:');
  const candidates = all.filter((line) => line.startsWith('a=candidate:'));
  // The candidate's port is where packets go; the one in m= may be a placeholder.
  const port = Number(candidates[0]?.split(' ')[5]);
  if (ip === undefined || fingerprint === null || ufrag === null || password === null || !(port > 0)) return null;
  return { ip, port, fingerprint, ufrag, password, candidates };
}

/**
 * The direction that answers one offered, as the server sees it.
 *
 * Firefox gives a stream that nobody has announced yet to the only section that takes its payload type, and from then on leaves
 * it there: whoever begins to speak a moment before their section exists would never be heard, and be mixed into
 * somebody else's sound. So the first two sections always take sound, whether they have a stream or not.
 */
function answerDirection(offered: string, isSpare: boolean, stream: RemoteStream | undefined): string {
  switch (offered) {
    case 'recvonly':
      return stream === undefined && !isSpare ? 'inactive' : 'sendonly';
    case 'sendrecv':
      return 'sendrecv';
    case 'sendonly':
      return 'recvonly';
    default:
      return 'inactive';
  }
}

/** Only what was offered, by the numbers it was offered with. */
function answerExtensions(section: Section): string[] {
  const opposite: Record<string, string> = { '/sendonly': '/recvonly', '/recvonly': '/sendonly' };
  return section.lines.flatMap((line) => {
    const match = /^a=extmap:(\d+)(\/\w+)? (\S+)/.exec(line);
    if (match === null || !EXTENSIONS.includes(match[3] ?? '')) return [];
    const direction = match[2] ?? '';
    return [`a=extmap:${match[1]}${opposite[direction] ?? direction} ${match[3]}`];
  });
}

function answerSection(section: Section, server: ServerFragment, isSpare: boolean, stream: RemoteStream | undefined): string[] {
  const opus = payloadType(section.lines, OPUS);
  const protocol = section.lines[0]?.split(' ')[2] ?? 'UDP/TLS/RTP/SAVPF';
  if (opus === null) {
    // Nothing that this server speaks: refused, as a port of zero says.
    return [`m=${section.kind} 0 ${protocol} 0`, `c=IN IP4 ${server.ip}`, `a=mid:${section.mid}`, 'a=inactive'];
  }
  const answer = [
    `m=${section.kind} ${server.port} ${protocol} ${opus}`,
    `c=IN IP4 ${server.ip}`,
    `a=rtcp:${server.port}`,
    `a=ice-ufrag:${server.ufrag}`,
    `a=ice-pwd:${server.password}`,
    `a=fingerprint:${server.fingerprint}`,
    ...server.candidates,
    'a=end-of-candidates',
    'a=setup:passive',
    `a=mid:${section.mid}`,
    ...answerExtensions(section),
    `a=${answerDirection(section.direction, isSpare, stream)}`,
    'a=rtcp-mux',
    `a=rtpmap:${opus} ${OPUS}`,
    `a=fmtp:${opus} ${OPUS_PARAMETERS}`,
    'a=maxptime:60',
  ];
  if (stream !== undefined && section.direction !== 'sendonly') {
    const name = `${stream.userId}-${stream.ssrc}`;
    answer.push(`a=msid:${name} a${name}`, `a=ssrc:${stream.ssrc} cname:${name}`);
  }
  return answer;
}

/** The answer to a local offer: one section for each that was offered, in the same order. */
export function answer(offer: string, server: ServerFragment, streams: ReadonlyMap<string, RemoteStream>, version: number): string {
  const offered = sections(offer);
  const answered = offered.map((section, at) => answerSection(section, server, at < 2, streams.get(section.mid)));
  const bundled = offered.filter((section) => payloadType(section.lines, OPUS) !== null).map((section) => section.mid);
  const session = [
    'v=0',
    `o=- 1420070400000 ${version} IN IP4 ${server.ip}`,
    's=-',
    't=0 0',
    'a=ice-lite',
    `a=group:BUNDLE ${bundled.join(' ')}`,
    'a=msid-semantic: WMS *',
    ...(lines(offer).includes('a=extmap-allow-mixed') ? ['a=extmap-allow-mixed'] : []),
  ];
  return `${[...session, ...answered.flat()].join('\r\n')}\r\n`;
}
