// An endless sine as a stream of Opus packets of 20 ms.

import { Readable } from 'node:stream';

import { createAudioResource, StreamType } from '@discordjs/voice';
import OpusScript from 'opusscript';

const RATE_HZ = 48_000;
const CHANNELS = 2;
const FRAME_SAMPLES = 960;
// Loud enough to stand far above the codec's noise, with room below full scale.
const AMPLITUDE = 16_000;

export function endlessTone(hz) {
  const encoder = new OpusScript(RATE_HZ, CHANNELS, OpusScript.Application.AUDIO);
  let turn = 0;
  const packets = new Readable({
    objectMode: true,
    highWaterMark: 5,
    read() {
      const pcm = Buffer.alloc(FRAME_SAMPLES * CHANNELS * 2);
      for (let at = 0; at < pcm.length; at += CHANNELS * 2) {
        const sample = Math.round(AMPLITUDE * Math.sin(2 * Math.PI * turn));
        pcm.writeInt16LE(sample, at);
        pcm.writeInt16LE(sample, at + 2);
        turn = (turn + hz / RATE_HZ) % 1;
      }
      this.push(encoder.encode(pcm, FRAME_SAMPLES));
    },
    destroy(error, done) {
      encoder.delete();
      done(error);
    },
  });
  return createAudioResource(packets, { inputType: StreamType.Opus });
}
