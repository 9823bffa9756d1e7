// What is heard: a gain for each person, one for all, and the device it comes out of.

import type { Id } from '../protocol/objects';

export interface Heard {
  rms: number;
  /** The strongest frequency. */
  peakHz: number;
}

interface Person {
  source: MediaStreamAudioSourceNode;
  gain: GainNode;
  analyser: AnalyserNode;
  /** Chromium gives a remote track's sound to Web Audio only while an element plays it; muted, it is not heard twice. */
  element: HTMLAudioElement;
}

/** AudioContext.setSinkId is not everywhere. */
type SinkContext = AudioContext & { setSinkId?: (id: string) => Promise<void> };

export class Graph {
  readonly context: AudioContext;
  readonly #people = new Map<Id, Person>();
  readonly #volumes = new Map<Id, number>();
  readonly #master: GainNode;
  readonly #analyser: AnalyserNode;
  /** Where the context itself cannot choose a device. */
  #outlet: HTMLAudioElement | null = null;

  constructor(context: AudioContext = new AudioContext({ latencyHint: 'interactive' })) {
    this.context = context;
    this.#master = context.createGain();
    this.#analyser = context.createAnalyser();
    this.#master.connect(this.#analyser);
    this.#master.connect(context.destination);
  }

  /** Browsers begin without sound until the user did something: to be called when they do. */
  async resume(): Promise<void> {
    if (this.context.state !== 'running') await this.context.resume();
  }

  add(userId: Id, track: MediaStreamTrack): void {
    this.remove(userId);
    const stream = new MediaStream([track]);
    const element = new Audio();
    element.muted = true;
    element.srcObject = stream;
    element.play().catch(() => undefined);
    const source = this.context.createMediaStreamSource(stream);
    const gain = this.context.createGain();
    const analyser = this.context.createAnalyser();
    gain.gain.value = this.volume(userId);
    // Measured before the volume: who speaks does so however quietly this user listens.
    source.connect(analyser);
    source.connect(gain).connect(this.#master);
    this.#people.set(userId, { source, gain, analyser, element });
  }

  remove(userId: Id): void {
    const person = this.#people.get(userId);
    if (person === undefined) return;
    this.#people.delete(userId);
    person.source.disconnect();
    person.gain.disconnect();
    person.element.srcObject = null;
  }

  clear(): void {
    for (const userId of [...this.#people.keys()]) this.remove(userId);
  }

  volume(userId: Id): number {
    return this.#volumes.get(userId) ?? 1;
  }

  /** 0 is silence, 1 as it was sent, 2 twice that. */
  setVolume(userId: Id, volume: number): void {
    this.#volumes.set(userId, volume);
    const gain = this.#people.get(userId)?.gain.gain;
    // A jump is heard as a click.
    gain?.setTargetAtTime(volume, this.context.currentTime, 0.015);
  }

  setDeaf(isDeaf: boolean): void {
    this.#master.gain.setTargetAtTime(isDeaf ? 0 : 1, this.context.currentTime, 0.01);
  }

  /** Empty: whatever the system uses. */
  async setOutput(deviceId: string): Promise<void> {
    const context: SinkContext = this.context;
    if (context.setSinkId !== undefined) return context.setSinkId(deviceId);
    if (this.#outlet === null) {
      if (deviceId === '' || !('setSinkId' in HTMLMediaElement.prototype)) return;
      const destination = this.context.createMediaStreamDestination();
      this.#master.disconnect(this.context.destination);
      this.#master.connect(destination);
      this.#outlet = new Audio();
      this.#outlet.srcObject = destination.stream;
      await this.#outlet.play();
    }
    await this.#outlet.setSinkId(deviceId);
  }

  static canChooseOutput(): boolean {
    return 'setSinkId' in AudioContext.prototype || 'setSinkId' in HTMLMediaElement.prototype;
  }

  /** What is heard of a user, before their volume; null where nothing is. */
  heardOf(userId: Id): Heard | null {
    const person = this.#people.get(userId);
    return person === undefined ? null : this.#measure(person.analyser);
  }

  levelOf(userId: Id): number {
    const person = this.#people.get(userId);
    return person === undefined ? 0 : rms(person.analyser);
  }

  /** What comes out. */
  heard(): Heard {
    return this.#measure(this.#analyser);
  }

  #measure(analyser: AnalyserNode): Heard {
    const spectrum = new Float32Array(analyser.frequencyBinCount);
    analyser.getFloatFrequencyData(spectrum);
    let peak = 0;
    for (let i = 1; i < spectrum.length; i++) {
      if ((spectrum[i] ?? -Infinity) > (spectrum[peak] ?? -Infinity)) peak = i;
    }
    return { rms: rms(analyser), peakHz: (peak * this.context.sampleRate) / analyser.fftSize };
  }
}

function rms(analyser: AnalyserNode): number {
  const samples = new Float32Array(analyser.fftSize);
  analyser.getFloatTimeDomainData(samples);
  let squares = 0;
  for (const sample of samples) squares += sample * sample;
  return Math.sqrt(squares / samples.length);
}
