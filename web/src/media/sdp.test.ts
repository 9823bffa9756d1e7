import { describe, expect, it } from 'vitest';

import chromium1 from './fixtures/chromium-1.sdp?raw';
import chromium3 from './fixtures/chromium-3.sdp?raw';
import firefox1 from './fixtures/firefox-1.sdp?raw';
import firefox3 from './fixtures/firefox-3.sdp?raw';
import { answer, clientFragment, lines, microphoneSsrc, readServerFragment, sections, takeStereo, type ServerFragment } from './sdp';

const FRAGMENT = `m=audio 50004 ICE/SDP
a=fingerprint:sha-256 AA:BB
c=IN IP4 192.0.2.7
a=rtcp:50004
a=ice-ufrag:abcd
a=ice-pwd:0123456789012345678901
a=fingerprint:sha-256 AA:BB
a=candidate:1 1 UDP 4261412862 192.0.2.7 50004 typ host
`;
const SERVER = readServerFragment(FRAGMENT) as ServerFragment;
const NOBODY = new Map<string, never>();

describe('the client fragment', () => {
  it.each([
    ['chromium', chromium1, chromium3, 111],
    ['firefox', firefox1, firefox3, 109],
  ])('of %s says what the server needs, once', (_, one, three, opus) => {
    const fragment = clientFragment(one);
    const kept = fragment.split('\n');
    expect(kept).toContain(`a=rtpmap:${opus} opus/48000/2`);
    const needed = ['a=ice-ufrag:', 'a=ice-pwd:', 'a=fingerprint:sha-256 ', 'a=rtpmap:'];
    for (const start of needed) expect(kept.filter((line) => line.startsWith(start)), start).toHaveLength(1);
    expect(kept).toHaveLength(needed.length);
    expect(microphoneSsrc(one)).toBeGreaterThan(0);
    expect(clientFragment(three).split('\n')).toHaveLength(kept.length);
  });

  it('says nothing of a stream where there is none', () => {
    expect(microphoneSsrc(chromium1.replaceAll(/^a=ssrc.*$/gm, ''))).toBe(0);
  });
});

describe('the server fragment', () => {
  it('is read', () => {
    expect(SERVER).toMatchObject({ ip: '192.0.2.7', port: 50_004, fingerprint: 'sha-256 AA:BB', ufrag: 'abcd' });
    expect(SERVER.candidates).toHaveLength(1);
  });

  it.each(['a=fingerprint', 'a=ice-ufrag', 'a=ice-pwd', 'a=candidate', 'c='])('is refused without %s', (prefix) => {
    const without = FRAGMENT.split('\n').filter((line) => !line.startsWith(prefix));
    expect(readServerFragment(without.join('\n'))).toBeNull();
  });
});

describe.each([
  ['chromium', chromium1, chromium3],
  ['firefox', firefox1, firefox3],
])('the answer to %s', (_, one, three) => {
  it('has one section for each offered, in their order, on one transport', () => {
    const text = answer(three, SERVER, NOBODY, 1);
    const mids = sections(three).map((section) => section.mid);
    expect(sections(text).map((section) => section.mid)).toEqual(mids);
    expect(lines(text)).toContain(`a=group:BUNDLE ${mids.join(' ')}`);
    expect(lines(text)).toContain('a=ice-lite');
    for (const section of sections(text)) {
      expect(section.lines[0]).toMatch(/^m=audio 50004 UDP\/TLS\/RTP\/SAVPF \d+$/);
      for (const needed of ['a=setup:passive', 'a=rtcp-mux', 'a=ice-ufrag:abcd', 'a=fingerprint:sha-256 AA:BB', ...SERVER.candidates]) {
        expect(section.lines).toContain(needed);
      }
    }
  });

  it('gives each section the direction that fits it', () => {
    const streams = new Map([['2', { userId: '7', ssrc: 70 }]]);
    const answered = sections(answer(three, SERVER, streams, 1));
    // The first two take sound in any case: so no stream that comes too early is given to the wrong section.
    expect(answered.map((section) => section.direction)).toEqual(['sendrecv', 'sendonly', 'sendonly']);
    expect(sections(answer(three, SERVER, NOBODY, 1)).map((section) => section.direction)).toEqual(['sendrecv', 'sendonly', 'inactive']);
    expect(answered[2]?.lines).toContain('a=msid:7-70 a7-70');
    expect(answered[2]?.lines).toContain('a=ssrc:70 cname:7-70');
    expect(answered[1]?.lines.some((line) => line.startsWith('a=ssrc'))).toBe(false);
    const sendonly = one.replace('a=sendrecv', 'a=sendonly');
    expect(sections(answer(sendonly, SERVER, NOBODY, 1))[0]?.direction).toBe('recvonly');
  });

  it('takes only extensions that were offered, by their numbers', () => {
    const offered = new Set(lines(one).filter((line) => line.startsWith('a=extmap:')));
    const taken = lines(answer(one, SERVER, NOBODY, 1)).filter((line) => line.startsWith('a=extmap:'));
    expect(taken).toHaveLength(1);
    for (const line of taken) expect(offered).toContain(line);
  });

  it('asks for discontinuous transmission and error correction', () => {
    expect(answer(one, SERVER, NOBODY, 1)).toMatch(/a=fmtp:\d+ minptime=10;useinbandfec=1;usedtx=1/);
  });

  it('offers stereo in every section', () => {
    const stereo = takeStereo(three);
    expect(lines(stereo).filter((line) => line.includes('stereo=1'))).toHaveLength(3);
    expect(takeStereo(stereo)).toBe(stereo);
    expect(lines(stereo)).toHaveLength(lines(three).length);
  });
});

it('refuses a section with nothing in it that the server speaks', () => {
  const video = 'm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:v\r\na=recvonly\r\na=rtpmap:96 VP8/90000\r\n';
  const text = answer(chromium1 + video, SERVER, NOBODY, 1);
  expect(sections(text)[1]?.lines[0]).toMatch(/^m=video 0 /);
  expect(lines(text)).toContain('a=group:BUNDLE 0');
});
