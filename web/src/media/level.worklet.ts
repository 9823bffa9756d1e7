// Runs on the audio thread: says how loud each hundredth of a second was. A timer would be throttled in a hidden tab,
// and the gate with it; messages of the audio thread are not.

declare class AudioWorkletProcessor {
  readonly port: MessagePort;
}
declare function registerProcessor(name: string, processor: new () => AudioWorkletProcessor): void;
declare const sampleRate: number;

class Level extends AudioWorkletProcessor {
  readonly #perBlock = sampleRate / 100;
  #squares = 0;
  #count = 0;

  process(inputs: Float32Array[][]): boolean {
    const samples = inputs[0]?.[0];
    if (samples === undefined) return true;
    for (const sample of samples) this.#squares += sample * sample;
    this.#count += samples.length;
    if (this.#count >= this.#perBlock) {
      this.port.postMessage(Math.sqrt(this.#squares / this.#count));
      this.#squares = 0;
      this.#count = 0;
    }
    return true;
  }
}

registerProcessor('level', Level);

export {};
