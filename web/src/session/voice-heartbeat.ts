// Heartbeats on the voice socket.

import { encodeVoiceHeartbeat } from '../protocol/voice';
import type { VoiceState, VoiceTurn } from './voice-state';

/** Beats without an answer after which a connection is dead; libraries count to three as well. */
const MISSED_MAX = 2;

/** The next beat, or null where the last ones were not answered. */
export function heartbeat(state: VoiceState, now: number): VoiceTurn | null {
  if (!state.hasSocket || state.heartbeatMs === 0) return { state, effects: [] };
  if (state.beatsMissed > MISSED_MAX) return null;
  return {
    state: { ...state, beatsMissed: state.beatsMissed + 1 },
    effects: [
      { type: 'send', text: encodeVoiceHeartbeat(now, state.seqAck) },
      { type: 'timer', timer: 'heartbeat', ms: state.heartbeatMs },
    ],
  };
}

/** `t` comes back as it was sent: the time of sending. */
export function heartbeatAcked(state: VoiceState, d: unknown, now: number): VoiceTurn {
  const sentAt = typeof d === 'number' ? d : (d as { t?: unknown } | null)?.t;
  const signallingMs = typeof sentAt === 'number' && sentAt <= now ? now - sentAt : state.signallingMs;
  return { state: { ...state, beatsMissed: 0, signallingMs }, effects: [] };
}
