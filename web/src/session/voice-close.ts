// What each close code of the voice gateway asks of the client.

import { VoiceClose } from '../protocol/voice';

export type VoiceCloseMeaning =
  /** The session is kept: RESUME on a new socket, media goes on meanwhile. */
  | 'resume'
  /** The session is gone: ask the main gateway for the channel again. */
  | 'rejoin'
  /** Moved or put out: the main gateway says which. */
  | 'await'
  /** Over, and trying again would change nothing. */
  | 'end';

export function voiceCloseMeaning(code: number): VoiceCloseMeaning {
  switch (code) {
    case VoiceClose.DISCONNECTED:
      return 'await';
    case VoiceClose.UNKNOWN_PROTOCOL:
    case VoiceClose.UNKNOWN_MODE:
    case VoiceClose.DAVE_REQUIRED:
    case VoiceClose.RATE_LIMITED:
    case VoiceClose.CALL_TERMINATED:
      return 'end';
    case VoiceClose.UNKNOWN_OPCODE:
    case VoiceClose.DECODE_ERROR:
    case VoiceClose.NOT_AUTHENTICATED:
    case VoiceClose.AUTHENTICATION_FAILED:
    case VoiceClose.ALREADY_AUTHENTICATED:
    case VoiceClose.SESSION_INVALID:
    case VoiceClose.SERVER_NOT_FOUND:
    case VoiceClose.RELAY_CRASHED:
    case VoiceClose.BAD_REQUEST:
      return 'rejoin';
    // A restart, a network, or a crash that the session outlives.
    case VoiceClose.NORMAL:
    case VoiceClose.GOING_AWAY:
    case VoiceClose.SESSION_TIMEOUT:
    case VoiceClose.SERVER_CRASHED:
      return 'resume';
    default:
      return code < 4000 ? 'resume' : 'rejoin';
  }
}

/** Why a stay in voice ended without the user asking for it. */
export type VoiceEnd =
  | 'no answer'
  | 'put out'
  | 'elsewhere'
  | 'not spoken'
  | 'encryption'
  | 'too fast'
  | 'call over'
  | 'no route'
  | 'failed';

export function endOfClose(code: number): VoiceEnd {
  switch (code) {
    case VoiceClose.UNKNOWN_PROTOCOL:
    case VoiceClose.UNKNOWN_MODE:
      return 'not spoken';
    case VoiceClose.DAVE_REQUIRED:
      return 'encryption';
    case VoiceClose.RATE_LIMITED:
      return 'too fast';
    case VoiceClose.CALL_TERMINATED:
      return 'call over';
    default:
      return 'failed';
  }
}
