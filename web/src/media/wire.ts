// A WebSocket and named timers, as the session machines ask for them. What a socket says after it was closed or replaced
// is not heard: the machines decided without it already.

export interface WireEvents<Timer extends string> {
  frame(text: string): void;
  closed(code: number): void;
  timer(timer: Timer): void;
}

/** What close() tells the other end; browsers allow 1000 and codes from 3000 on. */
const NORMAL = 1000;

export class Wire<Timer extends string> {
  readonly #events: WireEvents<Timer>;
  readonly #timers = new Map<Timer, ReturnType<typeof setTimeout>>();
  #socket: WebSocket | null = null;

  constructor(events: WireEvents<Timer>) {
    this.#events = events;
  }

  open(url: string): void {
    this.close(NORMAL);
    const socket = new WebSocket(url);
    this.#socket = socket;
    socket.onmessage = ({ data }: MessageEvent<unknown>) => {
      if (this.#socket === socket && typeof data === 'string') this.#events.frame(data);
    };
    socket.onclose = ({ code }) => {
      if (this.#socket !== socket) return;
      this.#socket = null;
      this.#events.closed(code);
    };
  }

  /** Gives the socket away, which stays open: what it says is not heard any more, but that it ends. */
  release(ended: () => void): WebSocket | null {
    const socket = this.#socket;
    this.#socket = null;
    if (socket === null) return null;
    socket.onmessage = null;
    socket.onclose = ended;
    return socket;
  }

  send(text: string): void {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(text);
  }

  close(code: number): void {
    const socket = this.#socket;
    this.#socket = null;
    socket?.close(code);
  }

  setTimer(timer: Timer, ms: number): void {
    this.cancel(timer);
    this.#timers.set(
      timer,
      setTimeout(() => {
        this.#timers.delete(timer);
        this.#events.timer(timer);
      }, ms),
    );
  }

  cancel(timer: Timer): void {
    clearTimeout(this.#timers.get(timer));
    this.#timers.delete(timer);
  }
}
