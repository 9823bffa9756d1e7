// The microphone: which device, what the browser does to its sound, and when it is let through.

import { CLOSED, FLOOR_DB, decibels, stepGate, type GateSettings, type GateState } from './gate';
import levelWorklet from './level.worklet.ts?worker&url';

export interface MicrophoneSettings extends GateSettings {
  /** Empty: whatever the system uses. */
  deviceId: string;
  echoCancellation: boolean;
  noiseSuppression: boolean;
  autoGainControl: boolean;
}

export interface MicrophoneEvents {
  /** The level of the last hundredth of a second, for a meter. */
  level(db: number): void;
  /** Whether sound is let through now. */
  open(isOpen: boolean): void;
  /** The device went away. */
  ended(): void;
}

const withWorklet = new WeakSet<AudioContext>();

export class Microphone {
  readonly #context: AudioContext;
  readonly #events: MicrophoneEvents;
  #settings: MicrophoneSettings;
  #stream: MediaStream | null = null;
  /** Goes on hearing while the track that is sent is disabled. */
  #listening: { stream: MediaStream; source: MediaStreamAudioSourceNode; node: AudioWorkletNode } | null = null;
  #gate: GateState = CLOSED;
  #isMuted = false;
  #isHeld = false;
  #opening = 0;

  constructor(context: AudioContext, settings: MicrophoneSettings, events: MicrophoneEvents) {
    this.#context = context;
    this.#settings = settings;
    this.#events = events;
  }

  /** The track to send. It is enabled only while the gate is open. */
  get track(): MediaStreamTrack | null {
    return this.#stream?.getAudioTracks()[0] ?? null;
  }

  /** Asks the user for it, the first time. Fails as getUserMedia does. */
  async open(): Promise<void> {
    const turn = ++this.#opening;
    const { deviceId, echoCancellation, noiseSuppression, autoGainControl } = this.#settings;
    const wanted: MediaTrackConstraints = { echoCancellation, noiseSuppression, autoGainControl, channelCount: 1 };
    if (deviceId !== '') wanted.deviceId = { exact: deviceId };
    const stream = await navigator.mediaDevices.getUserMedia({ audio: wanted }).catch((error: unknown) => {
      // A chosen device that is unplugged is no reason to be silent.
      if (deviceId === '' || !(error instanceof DOMException) || error.name !== 'OverconstrainedError') throw error;
      const { deviceId: _, ...rest } = wanted;
      return navigator.mediaDevices.getUserMedia({ audio: rest });
    });
    if (turn !== this.#opening) return stopAll(stream);
    this.#release();
    this.#stream = stream;
    const track = this.track;
    if (track !== null) {
      track.enabled = false;
      track.onended = () => this.#events.ended();
    }
    this.#gate = CLOSED;
    await this.#listen(stream);
  }

  close(): void {
    this.#opening += 1;
    this.#release();
    this.#let(CLOSED);
  }

  setSettings(settings: MicrophoneSettings): void {
    this.#settings = settings;
    this.#step(FLOOR_DB);
  }

  setMuted(isMuted: boolean): void {
    this.#isMuted = isMuted;
    if (isMuted) this.#let(CLOSED);
  }

  /** The push-to-talk key. */
  setHeld(isHeld: boolean): void {
    this.#isHeld = isHeld;
    if (this.#settings.mode === 'push to talk') this.#step(FLOOR_DB);
  }

  async #listen(stream: MediaStream): Promise<void> {
    if (!withWorklet.has(this.#context)) {
      await this.#context.audioWorklet.addModule(levelWorklet);
      withWorklet.add(this.#context);
    }
    if (this.#stream !== stream) return;
    const listening = new MediaStream(stream.getAudioTracks().map((track) => track.clone()));
    for (const track of listening.getAudioTracks()) track.enabled = true;
    const source = this.#context.createMediaStreamSource(listening);
    const node = new AudioWorkletNode(this.#context, 'level', { numberOfOutputs: 1 });
    node.port.onmessage = ({ data }: MessageEvent<number>) => this.#heard(decibels(data));
    // Only what leads to the destination is computed. The node writes nothing, so nothing is heard of it.
    source.connect(node).connect(this.#context.destination);
    this.#listening = { stream: listening, source, node };
  }

  #heard(levelDb: number): void {
    this.#events.level(levelDb);
    this.#step(levelDb);
  }

  #step(levelDb: number): void {
    if (this.#stream === null || this.#isMuted) return;
    this.#let(stepGate(this.#gate, this.#settings, { levelDb, isHeld: this.#isHeld, now: performance.now() }));
  }

  #let(gate: GateState): void {
    const wasOpen = this.#gate.isOpen;
    this.#gate = gate;
    if (this.track !== null) this.track.enabled = gate.isOpen;
    if (wasOpen !== gate.isOpen) this.#events.open(gate.isOpen);
  }

  #release(): void {
    if (this.#listening !== null) {
      const { stream, source, node } = this.#listening;
      node.port.onmessage = null;
      source.disconnect();
      node.disconnect();
      stopAll(stream);
    }
    this.#listening = null;
    if (this.#stream !== null) {
      if (this.track !== null) this.track.onended = null;
      stopAll(this.#stream);
    }
    this.#stream = null;
  }
}

function stopAll(stream: MediaStream): void {
  for (const track of stream.getTracks()) track.stop();
}
