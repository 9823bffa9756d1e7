// What comes out of the page, as a WAV file.
//
// Owns: where the page's sound leaves it, taking it there, the file. The processor that takes it is the old one of Web Audio, because
// the page's content policy lets nobody bring a worklet along; its blocks are so long that a busy machine does not miss one.

import { writeFileSync } from 'node:fs';

const BLOCK_SAMPLES = 16_384;

/** Goes into the page before its own code: remembers which nodes lead to the speakers. */
export function rememberOutputs() {
  const outputs = new Map();
  const connect = AudioNode.prototype.connect;
  AudioNode.prototype.connect = function (to, ...more) {
    if (to instanceof AudioDestinationNode) outputs.set(this.context, [...(outputs.get(this.context) ?? []), this]);
    return connect.call(this, to, ...more);
  };
  window.recorder = { outputs, recording: null };
}

export function record(page) {
  return page.evaluate((blockSamples) => {
    const { outputs } = window.recorder;
    const [context, nodes] = [...outputs].find(([context]) => context.state === 'running') ?? [];
    if (context === undefined) throw new Error('the page plays nothing');
    const processor = context.createScriptProcessor(blockSamples, 1, 1);
    const recording = { context, nodes: [...nodes], processor, blocks: [], samples: 0, beganMs: Infinity };
    processor.onaudioprocess = ({ inputBuffer }) => {
      recording.blocks.push(Int16Array.from(inputBuffer.getChannelData(0), (sample) => 32_767 * Math.max(-1, Math.min(1, sample))));
      recording.samples += inputBuffer.length;
      // Blocks are handed over late, never early: the earliest says best when the first began.
      const now = performance.timeOrigin + performance.now();
      recording.beganMs = Math.min(recording.beganMs, now - (recording.samples / context.sampleRate) * 1_000);
    };
    for (const node of recording.nodes) node.connect(processor);
    // Only what leads to the destination is computed; it writes nothing.
    processor.connect(context.destination);
    window.recorder.recording = recording;
    return { rate_hz: context.sampleRate };
  }, BLOCK_SAMPLES);
}

/** Ends it. `began_ms` is when its first sample was heard, by the machine's clock. */
export async function finishRecording(page, path) {
  const { text, rateHz, beganMs } = await page.evaluate(async () => {
    const { context, nodes, processor, blocks, beganMs } = window.recorder.recording;
    window.recorder.recording = null;
    for (const node of nodes) node.disconnect(processor);
    processor.disconnect();
    processor.onaudioprocess = null;
    const outputs = window.recorder.outputs.get(context);
    outputs.splice(outputs.indexOf(processor), 1);
    const reader = new FileReader();
    reader.readAsDataURL(new Blob(blocks));
    await new Promise((resolve) => (reader.onload = resolve));
    return { text: reader.result, rateHz: context.sampleRate, beganMs };
  });
  const samples = Buffer.from(text.slice(text.indexOf(',') + 1), 'base64');
  writeFileSync(path, Buffer.concat([header(rateHz, samples.length), samples]));
  return { rate_hz: rateHz, began_ms: beganMs, seconds: samples.length / 2 / rateHz };
}

/** Of a WAV file of one channel and 16 bits. */
function header(rateHz, bytes) {
  const head = Buffer.alloc(44);
  head.write('RIFF', 0);
  head.writeUInt32LE(36 + bytes, 4);
  head.write('WAVEfmt ', 8);
  head.writeUInt32LE(16, 16);
  head.writeUInt16LE(1, 20);
  head.writeUInt16LE(1, 22);
  head.writeUInt32LE(rateHz, 24);
  head.writeUInt32LE(rateHz * 2, 28);
  head.writeUInt16LE(2, 32);
  head.writeUInt16LE(16, 34);
  head.write('data', 36);
  head.writeUInt32LE(bytes, 40);
  return head;
}
