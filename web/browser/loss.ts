// Proves what a browser does about loss, without a server: a second peer connection of the same page stands in the server's place, and somebody
// between the two loses packets (loss.mjs).

import { Connection } from '../src/media/connection';
import { Graph } from '../src/media/graph';
import { lines } from '../src/media/sdp';
import { answering, wait } from './stand-in';

declare function proxied(port: number): Promise<number>;

/** What a browser in the server's place must be offered; it sends with redundancy if that stands first. */
function offerFor(fragment: string, ssrc: number, redundant: boolean): string {
  const all = lines(fragment);
  const number = (codec: string) => new RegExp(`a=rtpmap:(\\d+) ${codec}/`).exec(fragment)?.[1] ?? '';
  const [opus, red] = [number('opus'), number('red')];
  const section = (mid: number) => [
    `m=audio 9 UDP/TLS/RTP/SAVPF ${redundant ? `${red} ${opus}` : `${opus} ${red}`}`,
    'c=IN IP4 0.0.0.0',
    ...all.filter((line) => /^a=(ice-ufrag|ice-pwd|fingerprint)/.test(line)),
    'a=setup:active',
    `a=mid:${mid}`,
    mid === 0 ? 'a=sendrecv' : 'a=recvonly',
    'a=rtcp-mux',
    `a=rtpmap:${opus} opus/48000/2`,
    `a=rtcp-fb:${opus} nack`,
    `a=rtpmap:${red} red/48000/2`,
    `a=fmtp:${red} ${opus}/${opus}`,
    ...(mid === 0 ? [`a=ssrc:${ssrc} cname:client`] : []),
  ];
  const session = ['v=0', 'o=- 1 1 IN IP4 0.0.0.0', 's=-', 't=0 0', 'a=group:BUNDLE 0 1', 'a=msid-semantic: WMS *'];
  return `${[...session, ...section(0), ...section(1)].join('\r\n')}\r\n`;
}

function serverFragment(description: string, port: number): string {
  const one = (prefix: string) => lines(description).find((line) => line.startsWith(prefix)) ?? '';
  const candidate = `a=candidate:1 1 UDP 4261412862 127.0.0.1 ${port} typ host`;
  return [`m=audio ${port} ICE/SDP`, one('a=fingerprint:'), 'c=IN IP4 127.0.0.1', one('a=ice-ufrag:'), one('a=ice-pwd:'), candidate, ''].join('\n');
}

async function run(redundant: boolean) {
  const microphone = await navigator.mediaDevices.getUserMedia({ audio: { echoCancellation: false, noiseSuppression: false } });
  const graph = new Graph();
  await graph.resume();
  const client = new Connection(microphone.getAudioTracks()[0] ?? null, { media: () => {}, track: (userId, track) => graph.add(userId, track) });
  const offer = await client.offer();

  const server = new RTCPeerConnection();
  const described = await answering(server, offerFor(offer.fragment, offer.ssrc, redundant), [440, 660]);
  const candidate = lines(described).find((line) => /^a=candidate:\S+ 1 udp .* typ host/i.test(line)) ?? '';
  await client.describe(serverFragment(described, await proxied(Number(candidate.split(' ')[5]))));
  client.add('7', Number(/^a=ssrc:(\d+)/m.exec(described)?.[1]));
  for (let i = 0; i < 100 && graph.levelOf('7') < 0.1; i++) await wait(100);

  /** Of the server's end: what it was asked for and sent once more, and what it asked for and misses all the same. */
  const counted = async () => {
    const sums = { asked: 0, resent: 0, asks: 0, missing: 0 };
    (await server.getStats()).forEach((stat: Record<string, unknown>) => {
      const of = (name: string) => Number(stat[name] ?? 0);
      if (stat['type'] === 'outbound-rtp') [sums.asked, sums.resent] = [sums.asked + of('nackCount'), sums.resent + of('retransmittedPacketsSent')];
      if (stat['type'] === 'inbound-rtp') [sums.asks, sums.missing] = [sums.asks + of('nackCount'), sums.missing + of('packetsLost')];
    });
    return sums;
  };
  let sums = await counted();
  // The microphone of a test is a beep now and then, so it takes its time to lose something.
  for (let i = 0; i < 300 && (sums.resent < 10 || sums.asks < 5); i++) {
    await wait(100);
    sums = await counted();
  }
  const result = { ...sums, heard: graph.heardOf('7') };
  client.close();
  server.close();
  return result;
}

Object.assign(globalThis, { run });
