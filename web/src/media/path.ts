// Whether the path of a peer connection begins at an address that this machine still has. Browsers need five seconds and more to find a
// path dead; after a change of networks nothing has to be waited for.

type Stat = Record<string, unknown> & { id: string; type: string };

/** Addresses are at hand; a browser that needs longer is asked again at the next silence. */
const GATHER_MS = 1_000;
/** A path that carries somebody's voice is not without a packet for so long. */
const QUIET_MS = 250;

export class Path {
  readonly #peer: RTCPeerConnection;
  /** The machine's addresses that the connection was offered from. Names in an address's place tell nothing. */
  readonly #own = new Set<string>();
  constructor(peer: RTCPeerConnection) {
    this.#peer = peer;
    peer.addEventListener('icecandidate', ({ candidate }) => keepAddress(this.#own, candidate));
  }

  /** True where nothing arrives and the address that it would arrive at is gone. */
  async isGone(): Promise<boolean> {
    if (this.#own.size === 0) return false;
    const before = arrived(await this.#stats());
    await new Promise((resolve) => setTimeout(resolve, QUIET_MS));
    const stats = await this.#stats();
    if (arrived(stats) !== before) return false;
    const now = await addresses();
    return now !== null && [...this.#used(stats)].every((address) => !now.has(address));
  }

  async #stats(): Promise<Stat[]> {
    const stats: Stat[] = [];
    (await this.#peer.getStats()).forEach((stat: Stat) => stats.push(stat));
    return stats;
  }

  /** The address that the chosen pair goes out from; all of them where that is not told. */
  #used(stats: Stat[]): Set<string> {
    const pairs = stats.filter(({ type }) => type === 'candidate-pair');
    const chosen = stats.find((stat) => stat.type === 'transport')?.['selectedCandidatePairId'];
    const pair = pairs.find((pair) => (chosen === undefined ? pair['selected'] === true || pair['nominated'] === true : pair.id === chosen));
    const local = stats.find(({ id }) => id === pair?.['localCandidateId']);
    for (const address of [local?.['address'], local?.['relatedAddress']]) {
      if (typeof address === 'string' && this.#own.has(address)) return new Set([address]);
    }
    return this.#own;
  }
}

function arrived(stats: Stat[]): number {
  return stats.reduce((sum, { type, bytesReceived }) => (type === 'candidate-pair' ? sum + Number(bytesReceived ?? 0) : sum), 0);
}

/** The machine's addresses as they are now; null where the browser does not tell. */
async function addresses(): Promise<Set<string> | null> {
  const peer = new RTCPeerConnection();
  const found = new Set<string>();
  try {
    const gathered = new Promise<boolean>((resolve) => {
      setTimeout(() => resolve(false), GATHER_MS);
      peer.onicecandidate = ({ candidate }) => {
        if (candidate === null) resolve(true);
        else keepAddress(found, candidate);
      };
    });
    peer.addTransceiver('audio', { direction: 'recvonly' });
    await peer.setLocalDescription(await peer.createOffer());
    return (await gathered) ? found : null;
  } catch {
    return null;
  } finally {
    peer.close();
  }
}

/** Those of UDP are of sockets that are bound to them. Those of TCP are of a list, which in Chromium is two seconds behind. */
function keepAddress(found: Set<string>, candidate: RTCIceCandidate | null): void {
  const words = candidate?.candidate.toLowerCase().split(' ') ?? [];
  const address = words[4];
  if (address !== undefined && words[2] === 'udp' && words.includes('host') && !address.endsWith('.local')) found.add(address);
}
