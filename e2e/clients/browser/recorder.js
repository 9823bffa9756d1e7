// What the page plays of one person, as a WAV file.
//
// Owns: where remote streams enter the page's sound, taking them there, the file. The processor that takes them is the old one of Web
// Audio, because the page's content policy lets nobody bring a worklet along; its blocks are so long that a busy machine does not
// miss one.

import { writeFileSync } from 'node:fs';

const BLOCK_SAMPLES = 16_384;

/** Goes into the page before its own code: remembers by which nodes streams are heard, and takes what comes out of them when asked to. */
function rememberSources(blockSamples) {
  const sources = new Set();
  const recorder = { recordings: [], begin, end };
  let isOn = false;

  const create = AudioContext.prototype.createMediaStreamSource;
  AudioContext.prototype.createMediaStreamSource = function (stream) {
    const source = create.call(this, stream);
    sources.add(source);
    if (isOn) take(source);
    return source;
  };
  const disconnect = AudioNode.prototype.disconnect;
  AudioNode.prototype.disconnect = function (...from) {
    if (from.length === 0) sources.delete(this);
    return disconnect.apply(this, from);
  };

  function take(source) {
    const { context } = source;
    const processor = context.createScriptProcessor(blockSamples, 1, 1);
    const recording = { source, processor, track: source.mediaStream.getAudioTracks()[0].id, blocks: [], samples: 0, beganMs: Infinity };
    processor.onaudioprocess = ({ inputBuffer }) => {
      recording.blocks.push(Int16Array.from(inputBuffer.getChannelData(0), (sample) => 32_767 * Math.max(-1, Math.min(1, sample))));
      recording.samples += inputBuffer.length;
      // Blocks are handed over late, never early: the earliest says best when the first began.
      const now = performance.timeOrigin + performance.now();
      recording.beganMs = Math.min(recording.beganMs, now - (recording.samples / context.sampleRate) * 1_000);
    };
    source.connect(processor);
    // Only what leads to the destination is computed; it writes nothing.
    processor.connect(context.destination);
    recorder.recordings.push(recording);
  }

  function begin() {
    isOn = true;
    sources.forEach(take);
  }

  function end() {
    isOn = false;
    const { recordings } = recorder;
    recorder.recordings = [];
    for (const { source, processor } of recordings) {
      // Who has left was disconnected already.
      if (sources.has(source)) source.disconnect(processor);
      processor.disconnect();
      processor.onaudioprocess = null;
    }
    return recordings;
  }

  window.recorder = recorder;
}

/** Before the page is loaded. */
export function prepareRecording(page) {
  return page.evaluateOnNewDocument(rememberSources, BLOCK_SAMPLES);
}

export async function record(page) {
  await page.evaluate(() => window.recorder.begin());
}

/** Ends it and keeps what was heard of one user. `began_ms` is when the first sample was, by the machine's clock. */
export async function finishRecording(page, user, path) {
  const { text, rateHz, beganMs } = await page.evaluate(async (user) => {
    const recordings = window.recorder.end();
    const { users } = window.guildhall.snapshot();
    const streams = Object.entries(await window.witness.streams());
    const tracks = streams.filter(([ssrc]) => users[ssrc] === user).map(([, { track }]) => track);
    const recording = recordings.find(({ track }) => tracks.includes(track));
    if (recording === undefined) throw new Error(`nothing of ${user} was recorded`);
    const reader = new FileReader();
    reader.readAsDataURL(new Blob(recording.blocks));
    await new Promise((resolve) => (reader.onload = resolve));
    return { text: reader.result, rateHz: recording.source.context.sampleRate, beganMs: recording.beganMs };
  }, user);
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
