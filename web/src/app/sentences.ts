// What the client says when something ends or fails: what happened, and what to do.

import type { LinkStats } from '../media/stats';
import type { VoiceEnd } from '../session/voice-close';
import type { VoicePhase } from '../session/voice-state';

export function endSentence(end: VoiceEnd): string {
  switch (end) {
    case 'no answer':
      return 'You could not join: the channel is full, or you lack the permission.';
    case 'put out':
      return 'You were disconnected from the voice channel.';
    case 'elsewhere':
      return 'You joined voice from another device, so this one left.';
    case 'not spoken':
      return 'This voice server does not speak with browsers. Ask who runs it for an update.';
    case 'encryption':
      return 'This channel asks for end-to-end encryption, which this client does not have.';
    case 'too fast':
      return 'The voice server found this client too fast. Wait a minute, then join again.';
    case 'call over':
      return 'The call has ended.';
    case 'no route':
      return 'No sound can reach the voice server. A firewall may block UDP: try another network, then join again.';
    case 'failed':
      return 'The voice server could not be reached. Try to join again in a moment.';
  }
}

export function microphoneSentence(error: unknown): string {
  if (!globalThis.isSecureContext) return 'Browsers allow microphones only over https. You can listen; to speak, open this page by https.';
  const name = error instanceof DOMException ? error.name : '';
  switch (name) {
    case 'NotAllowedError':
      return 'The browser may not use your microphone. Allow it beside the address bar, then unmute.';
    case 'NotFoundError':
      return 'No microphone was found. Plug one in; until then you can listen.';
    case 'NotReadableError':
      return 'Another program holds your microphone. Close it, then choose the microphone in the settings.';
    default:
      return 'Your microphone could not be opened. Choose another one in the settings.';
  }
}

/** The states in words for people. */
export function phaseWords(phase: VoicePhase): string {
  switch (phase) {
    case 'disconnected':
      return 'Disconnected';
    case 'awaiting endpoint':
      return 'Awaiting endpoint';
    case 'authenticating':
      return 'Authenticating';
    case 'connecting':
      return 'Connecting';
    case 'voice connected':
      return 'Voice connected';
    case 'reconnecting':
      return 'Reconnecting';
  }
}

export function linkWords(link: LinkStats | null): string {
  if (link === null) return '';
  const parts = link.rttMs === null ? [] : [`${Math.round(link.rttMs)} ms`];
  const loss = Math.max(link.lossIn, link.lossOut);
  parts.push(`${loss < 0.0005 ? '0' : (loss * 100).toFixed(1)}% loss`);
  return parts.join(', ');
}
