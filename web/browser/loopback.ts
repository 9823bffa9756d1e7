// Proves the media layer without a server: a second peer connection of the same page plays the server. Of the client it
// knows what a server would know, the client fragment, and it answers with a server fragment.

import { Connection } from '../src/media/connection';
import { Graph, type Heard } from '../src/media/graph';
import { lines, sections } from '../src/media/sdp';
import { answering, wait } from './stand-in';

const TONES = [440, 660, 880];

/** What a browser in the server's place must be offered so that it answers as the server would: streams are told by SSRC. */
function offerFor(fragment: string, ssrc: number, streams: number): string {
  const all = lines(fragment);
  const opus = /^a=rtpmap:(\d+) opus/.exec(all.find((line) => line.startsWith('a=rtpmap:')) ?? '')?.[1] ?? '';
  const transport = all.filter((line) => /^a=(ice-ufrag|ice-pwd|fingerprint)/.test(line));
  const section = (mid: number) => [
    `m=audio 9 UDP/TLS/RTP/SAVPF ${opus}`,
    'c=IN IP4 0.0.0.0',
    ...transport,
    'a=setup:active',
    `a=mid:${mid}`,
    mid === 0 ? 'a=sendrecv' : 'a=recvonly',
    'a=rtcp-mux',
    `a=rtpmap:${opus} opus/48000/2`,
    ...(mid === 0 ? [`a=ssrc:${ssrc} cname:client`] : []),
  ];
  const mids = Array.from({ length: streams }, (_, mid) => mid);
  const session = ['v=0', 'o=- 1 1 IN IP4 0.0.0.0', 's=-', 't=0 0', `a=group:BUNDLE ${mids.join(' ')}`, 'a=msid-semantic: WMS *'];
  return `${[...session, ...mids.flatMap(section)].join('\r\n')}\r\n`;
}

function serverFragment(description: string): string {
  const all = lines(description);
  const candidate = all.find((line) => /^a=candidate:\S+ 1 udp .* typ host/i.test(line) && !line.includes('.local')) ?? '';
  const [, , , , ip, port] = candidate.split(' ');
  const one = (prefix: string) => all.find((line) => line.startsWith(prefix)) ?? '';
  return [
    `m=audio ${port} ICE/SDP`,
    one('a=fingerprint:'),
    `c=IN IP4 ${ip}`,
    `a=rtcp:${port}`,
    one('a=ice-ufrag:'),
    one('a=ice-pwd:'),
    one('a=fingerprint:'),
    `a=candidate:1 1 UDP 4261412862 ${ip} ${port} typ host`,
    '',
  ].join('\n');
}

async function run() {
  const states: string[] = [];
  const microphone = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: false, noiseSuppression: false } });
  const graph = new Graph();
  await graph.resume();
  const client = new Connection(microphone.getAudioTracks()[0] ?? null, {
    media: (is) => states.push(is),
    track: (userId, track) => graph.add(userId, track),
  });
  const offer = await client.offer();

  const server = new RTCPeerConnection();
  const heardByServer = new Graph();
  await heardByServer.resume();
  server.ontrack = ({ track, transceiver }) => transceiver.mid === '0' && heardByServer.add('client', track);
  const described = await answering(server, offerFor(offer.fragment, offer.ssrc, TONES.length), TONES);
  const ssrcs = sections(described).map(({ lines }) => Number(/^a=ssrc:(\d+)/.exec(lines.find((line) => line.startsWith('a=ssrc:')) ?? '')?.[1]));

  await client.describe(serverFragment(described));
  const hears = async (who: string[], patience = 100) => {
    // Audio devices take their time to start.
    for (let i = 0; i < patience && who.some((userId) => graph.levelOf(userId) < 0.1); i++) await wait(100);
    await wait(300);
    return Object.fromEntries(who.map((userId) => [userId, graph.heardOf(userId)])) as Record<string, Heard | null>;
  };
  client.add('7', ssrcs[0] ?? 0);
  client.add('8', ssrcs[1] ?? 0);
  const two = await hears(['7', '8']);
  const sectionsOfTwo = client.sections();
  graph.remove('8');
  client.remove('8');
  const one = await hears(['7', '8'], 15);
  const sectionsOfOne = client.sections();
  client.add('9', ssrcs[2] ?? 0);
  const again = await hears(['7', '9']);
  const sectionsOfAgain = client.sections();
  // Joined anew: the same stream.
  graph.remove('9');
  client.remove('9');
  await wait(500);
  client.add('9', ssrcs[2] ?? 0);
  const anew = await hears(['7', '9'], 30);
  await client.stats();
  // The microphone of a test is a beep now and then.
  let loudest = 0;
  for (let i = 0; i < 60; i++) {
    await wait(50);
    loudest = Math.max(loudest, heardByServer.levelOf('client'));
  }
  const result = {
    states,
    two,
    one,
    again,
    anew,
    sectionsOfTwo,
    sectionsOfOne,
    sectionsOfAgain,
    sectionsOfAnew: client.sections(),
    loudestAtServer: loudest,
    stats: await client.stats(),
    output: graph.heard(),
  };
  client.close();
  server.close();
  return result;
}

Object.assign(globalThis, { run });
