// What getStats says of a connection, in a form for people.

export interface LinkStats {
  /** To the voice server and back, as ICE measures it. */
  rttMs: number | null;
  /** Shares of packets lost since the last measurement, 0 to 1: of what is received, and of what is sent. */
  lossIn: number;
  lossOut: number;
  packetsIn: number;
}

type Stat = Record<string, unknown> & { id: string; type: string };

function stats(report: RTCStatsReport): Stat[] {
  const list: Stat[] = [];
  report.forEach((stat: Stat) => list.push(stat));
  return list;
}

const number = (value: unknown): number => (typeof value === 'number' ? value : 0);

export function roundTripMs(report: RTCStatsReport): number | null {
  const all = stats(report);
  const selected = all.find((stat) => stat.type === 'transport' && stat['selectedCandidatePairId'] !== undefined);
  const pair = all.find((stat) =>
    selected === undefined
      ? stat.type === 'candidate-pair' && stat['nominated'] === true && stat['state'] === 'succeeded'
      : stat.id === selected['selectedCandidatePairId'],
  );
  const seconds = pair?.['currentRoundTripTime'];
  return typeof seconds === 'number' ? seconds * 1_000 : null;
}

/** Turns counters since the beginning into shares since the last look. */
export class LossMeter {
  #received = 0;
  #lost = 0;

  measure(report: RTCStatsReport): Omit<LinkStats, 'rttMs'> {
    let received = 0;
    let lost = 0;
    let lossOut = 0;
    for (const stat of stats(report)) {
      if (stat.type === 'inbound-rtp') {
        received += number(stat['packetsReceived']);
        lost += number(stat['packetsLost']);
      }
      if (stat.type === 'remote-inbound-rtp') lossOut = Math.max(lossOut, number(stat['fractionLost']));
    }
    const newlyReceived = Math.max(0, received - this.#received);
    const newlyLost = Math.max(0, lost - this.#lost);
    this.#received = received;
    this.#lost = lost;
    const expected = newlyReceived + newlyLost;
    return { lossIn: expected === 0 ? 0 : newlyLost / expected, lossOut, packetsIn: newlyReceived };
  }
}
