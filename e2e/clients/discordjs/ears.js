// What was received, by SSRC: the packets as they came off the network, and the sound decoded from what the library
// decrypted.

import OpusScript from 'opusscript';

import { peaksHz, rms } from './spectrum.js';

// A stream that has been silent for longer than this belongs to an earlier scene of the test.
const STREAM_REMEMBERED_MS = 10_000;
const RTP_HEADER_BYTES = 12;
const OPUS_PAYLOAD_TYPE = 120;

export class Ears {
  #streams = new Map();
  #listening = false;

  /** Takes any datagram, and says which stream it belongs to if it is an RTP packet of Opus. */
  datagram(message) {
    if (message.length < RTP_HEADER_BYTES || message[0] >> 6 !== 2) return undefined;
    if ((message[1] & 0x7f) !== OPUS_PAYLOAD_TYPE) return undefined;
    const ssrc = message.readUInt32BE(8);
    this.#stream(ssrc).packet(message.readUInt16BE(2), this.#listening);
    return ssrc;
  }

  /** One decrypted Opus packet. */
  opus(ssrc, packet) {
    if (this.#listening) this.#stream(ssrc).decode(packet);
  }

  listen() {
    this.#listening = true;
    for (const [ssrc, stream] of this.#streams) {
      if (stream.silentMs() > STREAM_REMEMBERED_MS) {
        stream.forget();
        this.#streams.delete(ssrc);
      } else {
        stream.reset();
      }
    }
  }

  report(userOf) {
    this.#listening = false;
    return [...this.#streams]
      .sort(([left], [right]) => left - right)
      .map(([ssrc, stream]) => ({ ssrc, user: userOf(ssrc) ?? null, ...stream.report() }));
  }

  #stream(ssrc) {
    if (!this.#streams.has(ssrc)) this.#streams.set(ssrc, new Stream());
    return this.#streams.get(ssrc);
  }
}

/** One stream over one interval of listening. */
class Stream {
  #decoder = new OpusScript(48_000, 2);
  /** Sequence numbers, extended over the wrap at 2^16. */
  #numbers = new Set();
  #highest;
  /** All its numbers since it was first heard. */
  #ever = new Set();
  #lastPacket = performance.now();
  #longestGap = 0;
  #mono = [];

  packet(sequence, listening) {
    const now = performance.now();
    const number = this.#extend(sequence);
    this.#ever.add(number);
    if (listening) {
      if (this.#numbers.size > 0) this.#longestGap = Math.max(this.#longestGap, now - this.#lastPacket);
      this.#numbers.add(number);
    }
    this.#lastPacket = now;
  }

  decode(packet) {
    const pcm = this.#decoder.decode(packet);
    for (let at = 0; at + 4 <= pcm.length; at += 4) {
      this.#mono.push((pcm.readInt16LE(at) + pcm.readInt16LE(at + 2)) / 2);
    }
  }

  silentMs() {
    return performance.now() - this.#lastPacket;
  }

  reset() {
    this.#numbers.clear();
    this.#longestGap = 0;
    this.#mono = [];
  }

  forget() {
    this.#decoder.delete();
  }

  report() {
    const { first, last, lost } = span(this.#numbers);
    const samples = Float64Array.from(this.#mono);
    return {
      packets: this.#numbers.size,
      lost,
      seq_first: first === undefined ? null : first & 0xffff,
      seq_last: last === undefined ? null : last & 0xffff,
      peaks_hz: peaksHz(samples),
      rms: rms(samples),
      longest_gap_ms: Math.round(this.#longestGap),
      last_packet_at_ms: this.#lastPacket,
      lost_ever: span(this.#ever).lost,
    };
  }

  /** Extends a sequence number by its distance, at most half a circle, from the highest one so far. */
  #extend(sequence) {
    this.#highest ??= sequence;
    const distance = ((sequence - this.#highest) << 16) >> 16;
    const number = this.#highest + distance;
    this.#highest = Math.max(this.#highest, number);
    return number;
  }
}

/** The lowest and the highest of these numbers, and how many between them are not there. */
function span(numbers) {
  const sorted = [...numbers].sort((left, right) => left - right);
  const [first, last] = [sorted.at(0), sorted.at(-1)];
  return { first, last, lost: sorted.length === 0 ? 0 : last - first + 1 - sorted.length };
}
