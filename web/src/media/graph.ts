// What is heard: a gain for each person, one for all, and the device it comes out of.

import type { Id } from '../protocol/objects';

export interface Heard {
  rms: number;
  /** The strongest frequency. */
  peakHz: number;
}

export interface Spectrum {
  stepHz: number;
  decibels: number[];
}

interface Person {
  track: MediaStreamTrack;
  source: MediaStreamAudioSourceNode;
  gain: GainNode;
  analyser: AnalyserNode;
}

interface Inlet {
  source: MediaStreamAudioSourceNode;
  /** Chromium gives a remote track's sound to Web Audio only while an element plays it; muted, it is not heard twice. */
  element: HTMLAudioElement;
}

/** AudioContext.setSinkId is not everywhere. */
type SinkContext = AudioContext & { setSinkId?: (id: string) => Promise<void> };

export class Graph {
  readonly context: AudioContext;
  readonly #people = new Map<Id, Person>();
  /**
   * Where tracks come in, whoever is heard by them: a section of the connection keeps its track when it goes from one person to the
   * next, and Chromium keeps some hundred kilobytes of every source and element there ever was.
   */
  readonly #inlets = new Map<MediaStreamTrack, Inlet>();
  readonly #volumes = new Map<Id, number>();
  readonly #master: GainNode;
  readonly #analyser: AnalyserNode;
  /** Where the context itself cannot choose a device. */
  #outlet: HTMLAudioElement | null = null;

  constructor(context: AudioContext = new AudioContext({ latencyHint: 'interactive' })) {
    this.context = context;
    this.#master = context.createGain();
    this.#analyser = analyserOf(context);
    this.#master.connect(this.#analyser);
    this.#master.connect(context.destination);
  }

  /** Browsers begin without sound until the user did something: to be called when they do. */
  async resume(): Promise<void> {
    if (this.context.state !== 'running') await this.context.resume();
  }

  add(userId: Id, track: MediaStreamTrack): void {
    this.remove(userId);
    const { source } = this.#inlet(track);
    const gain = this.context.createGain();
    const analyser = analyserOf(this.context);
    gain.gain.value = this.volume(userId);
    // Measured before the volume: who speaks does so however quietly this user listens.
    source.connect(analyser);
    source.connect(gain).connect(this.#master);
    this.#people.set(userId, { track, source, gain, analyser });
  }

  /** Takes a track in that nobody is heard by yet; says whether there is sound on it. */
  probe(track: MediaStreamTrack): { hasSound(): boolean; end(): void } {
    const { source } = this.#inlet(track);
    const analyser = analyserOf(this.context);
    source.connect(analyser);
    return { hasSound: () => rms(analyser) > 0, end: () => source.disconnect(analyser) };
  }

  has(userId: Id): boolean {
    return this.#people.has(userId);
  }

  /** What somebody is heard by. */
  trackOf(userId: Id): MediaStreamTrack | null {
    return this.#people.get(userId)?.track ?? null;
  }

  users(): Id[] {
    return [...this.#people.keys()];
  }

  remove(userId: Id): void {
    const person = this.#people.get(userId);
    if (person === undefined) return;
    this.#people.delete(userId);
    person.source.disconnect(person.analyser);
    person.source.disconnect(person.gain);
    person.gain.disconnect();
  }

  /** Their connection is gone, and whoever is heard by them is not any more. */
  drop(tracks: readonly MediaStreamTrack[]): void {
    const gone = new Set(tracks);
    for (const [userId, { track }] of [...this.#people]) if (gone.has(track)) this.remove(userId);
    for (const track of gone) {
      const inlet = this.#inlets.get(track);
      if (inlet === undefined) continue;
      this.#inlets.delete(track);
      inlet.source.disconnect();
      inlet.element.srcObject = null;
    }
  }

  #inlet(track: MediaStreamTrack): Inlet {
    const known = this.#inlets.get(track);
    if (known !== undefined) return known;
    const stream = new MediaStream([track]);
    const element = new Audio();
    element.muted = true;
    element.srcObject = stream;
    element.play().catch(() => undefined);
    const inlet = { source: this.context.createMediaStreamSource(stream), element };
    this.#inlets.set(track, inlet);
    return inlet;
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

  spectrum(): Spectrum {
    return { stepHz: this.context.sampleRate / this.#analyser.fftSize, decibels: [...spectrum(this.#analyser)] };
  }

  #measure(analyser: AnalyserNode): Heard {
    return { rms: rms(analyser), peakHz: (peak(spectrum(analyser)) * this.context.sampleRate) / analyser.fftSize };
  }
}

function analyserOf(context: AudioContext): AnalyserNode {
  const analyser = context.createAnalyser();
  // Every look is for itself: an average with the last one tells of sound that is long over.
  analyser.smoothingTimeConstant = 0;
  return analyser;
}

function spectrum(analyser: AnalyserNode): Float32Array {
  const decibels = new Float32Array(analyser.frequencyBinCount);
  analyser.getFloatFrequencyData(decibels);
  return decibels;
}

/** Where the strongest frequency is, in steps: the top of a parabola through the highest step and its neighbours. */
function peak(decibels: Float32Array): number {
  let at = 1;
  for (let i = 1; i < decibels.length - 1; i++) if ((decibels[i] ?? -Infinity) > (decibels[at] ?? -Infinity)) at = i;
  const [left = 0, top = 0, right = 0] = decibels.subarray(at - 1, at + 2);
  const bend = left - 2 * top + right;
  return Number.isFinite(bend) && bend < 0 ? at + (left - right) / (2 * bend) : at;
}

function rms(analyser: AnalyserNode): number {
  const samples = new Float32Array(analyser.fftSize);
  analyser.getFloatTimeDomainData(samples);
  let squares = 0;
  for (const sample of samples) squares += sample * sample;
  return Math.sqrt(squares / samples.length);
}
