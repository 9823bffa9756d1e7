// What is heard in the page: looked at fifty times a second through `window.guildhall`, and summed up like the other bots' hearing.

const LOOK_MS = 20;
/** Quieter is silence: what a codec makes of nothing. */
const SILENCE_RMS = 0.005;
const PEAKS_MAX = 5;
/** A peak so much under the strongest is a by-product, not a tone someone plays. */
const PEAK_FLOOR_DB = 30;

/** Listens and gives the fields of `heard`. */
export function hear(page, seconds) {
  return page.evaluate(listen, { seconds, LOOK_MS, SILENCE_RMS, PEAKS_MAX, PEAK_FLOOR_DB });
}

/** Runs in the page. */
async function listen({ seconds, LOOK_MS, SILENCE_RMS, PEAKS_MAX, PEAK_FLOOR_DB }) {
  const people = new Map();
  const out = { rms: 0, looks: 0, spectrum: null, stepHz: 0 };
  const before = await window.witness.streams();
  const until = performance.now() + seconds * 1_000;

  function look(now) {
    const { users = {} } = window.guildhall.snapshot();
    for (const [ssrc, user] of Object.entries(users)) {
      if (!people.has(user)) people.set(user, { user, ssrc: Number(ssrc), looks: 0, rms: 0, hz: [], soundAt: now, gap: 0 });
      people.get(user).ssrc = Number(ssrc);
    }
    for (const person of people.values()) {
      const heard = window.guildhall.analyser(person.user) ?? { rms: 0, peakHz: 0 };
      person.looks += 1;
      person.rms += heard.rms;
      if (heard.rms < SILENCE_RMS) continue;
      person.hz.push(heard.peakHz);
      person.gap = Math.max(person.gap, now - person.soundAt);
      person.soundAt = now;
    }
    const { rms = 0 } = window.guildhall.heard() ?? {};
    out.rms += rms;
    out.looks += 1;
    const spectrum = window.guildhall.spectrum();
    if (spectrum === null) return;
    out.stepHz = spectrum.stepHz;
    out.spectrum ??= spectrum.decibels.map(() => 0);
    // Powers are averaged, not decibels.
    spectrum.decibels.forEach((db, i) => (out.spectrum[i] += 10 ** (db / 10)));
  }

  for (let now = performance.now(); now < until; now = performance.now()) {
    look(now);
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }

  const after = await window.witness.streams();
  const middle = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
  const streams = [...people.values()].map(({ user, ssrc, looks, rms, hz, soundAt, gap }) => {
    const [from, to] = [before[ssrc] ?? { packets: 0, lost: 0 }, after[ssrc] ?? { packets: 0, lost: 0 }];
    return {
      user,
      ssrc,
      packets: to.packets - from.packets,
      lost: to.lost - from.lost,
      lost_ever: to.lost,
      peaks_hz: hz.length === 0 ? [] : [middle(hz)],
      rms: rms / looks,
      silent_share: 1 - hz.length / looks,
      longest_gap_ms: Math.max(gap, performance.now() - soundAt),
    };
  });

  const db = (out.spectrum ?? []).map((power) => 10 * Math.log10(power / out.looks));
  const peaks = [];
  for (let i = 2; i < db.length - 1; i++) {
    if (db[i] <= db[i - 1] || db[i] < db[i + 1]) continue;
    // The top of a parabola through the three highest points.
    const shift = (db[i - 1] - db[i + 1]) / (2 * (db[i - 1] - 2 * db[i] + db[i + 1])) || 0;
    peaks.push({ hz: (i + shift) * out.stepHz, db: db[i] });
  }
  peaks.sort((a, b) => b.db - a.db);
  const strong = peaks.filter((peak) => peak.db > (peaks[0]?.db ?? 0) - PEAK_FLOOR_DB && peak.db > -90);
  return { streams, out: { rms: out.rms / out.looks, peaks: strong.slice(0, PEAKS_MAX) } };
}
