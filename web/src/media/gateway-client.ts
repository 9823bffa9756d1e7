// Runs the machine of a gateway session: the only place where it meets a socket, a clock and chance.

import { encodeVoiceServerPing, encodeVoiceState, type Dispatch, type VoiceWish } from '../protocol/gateway';
import { gatewayState, stepGateway, type GatewayInput, type GatewayState, type GatewayTimer } from '../session/gateway';
import { Wire } from './wire';

export interface GatewayEvents {
  dispatch(event: Dispatch): void;
  /** The session could not be resumed. */
  lost(): void;
  changed(state: GatewayState): void;
}

export class GatewayClient {
  readonly #events: GatewayEvents;
  readonly #wire: Wire<GatewayTimer>;
  /** To be called also by whoever sees from elsewhere that the network is not what it was. */
  readonly networkChanged = () => this.#step({ type: 'online' });
  #state: GatewayState;

  constructor(url: string, token: string, intents: number, events: GatewayEvents) {
    this.#events = events;
    this.#state = gatewayState(url, token, intents);
    this.#wire = new Wire({
      frame: (text) => this.#step({ type: 'frame', text, random: Math.random() }),
      closed: (code) => this.#step({ type: 'closed', code, random: Math.random() }),
      timer: (timer) => this.#step({ type: 'timer', timer, random: Math.random() }),
    });
  }

  get state(): GatewayState {
    return this.#state;
  }

  start(): void {
    globalThis.addEventListener('online', this.networkChanged);
    this.#step({ type: 'start', random: Math.random() });
  }

  stop(): void {
    globalThis.removeEventListener('online', this.networkChanged);
    this.#step({ type: 'stop' });
  }

  /** Sent as soon as there is a session. */
  send(text: string): void {
    this.#step({ type: 'send', text });
  }

  askForVoice(wish: VoiceWish): void {
    this.send(encodeVoiceState(wish));
  }

  /** Where there is no session, the network is to be suspected and not the voice server. */
  suspectVoiceServer(): void {
    if (this.#state.phase === 'ready') this.send(encodeVoiceServerPing());
  }

  #step(input: GatewayInput): void {
    const before = this.#state;
    const turn = stepGateway(before, input);
    this.#state = turn.state;
    for (const effect of turn.effects) {
      switch (effect.type) {
        case 'open':
          this.#wire.open(effect.url);
          break;
        case 'send':
          this.#wire.send(effect.text);
          break;
        case 'close':
          this.#wire.close(effect.code);
          break;
        case 'timer':
          this.#wire.setTimer(effect.timer, effect.ms);
          break;
        case 'cancel':
          this.#wire.cancel(effect.timer);
          break;
        case 'dispatch':
          this.#events.dispatch(effect.event);
          break;
        case 'lost':
          this.#events.lost();
          break;
      }
    }
    if (before.phase !== this.#state.phase) this.#events.changed(this.#state);
  }
}
