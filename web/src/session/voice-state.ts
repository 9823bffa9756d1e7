// The shapes of the voice session: what it knows, what happens to it, what it wants done.

import type { Id, VoiceServerUpdate, VoiceStateUpdate } from '../protocol/objects';
import type { Credentials } from '../protocol/voice';
import type { VoiceEnd } from './voice-close';

/** The states in the protocol's words. */
export type VoicePhase =
  | 'disconnected'
  /** The main gateway was asked, or there is no voice server yet. */
  | 'awaiting endpoint'
  /** Connecting to the voice server and identifying there. */
  | 'authenticating'
  /** Signalling is done; ICE and DTLS are under way. */
  | 'connecting'
  | 'voice connected'
  /** It was connected, and is coming back. */
  | 'reconnecting';

export interface Speaker {
  ssrc: number;
  /** SPEAKING's bits. */
  speaking: number;
}

export interface VoiceState {
  phase: VoicePhase;
  userId: Id;
  /** Where the user wants to be. */
  guildId: Id | null;
  channelId: Id | null;
  /** Where the user asked to go while still being connected elsewhere. */
  asked: { guildId: Id; channelId: Id } | null;
  selfMute: boolean;
  selfDeaf: boolean;
  /** The main gateway's session, by which the server knows which of the user's clients is in voice. */
  sessionId: string | null;
  server: { endpoint: string; token: string } | null;
  /** Whether the voice server described its end of the media, so that a new socket may resume. */
  isDescribed: boolean;
  /** Whether media arrived once since the user joined: what comes after is a reconnection. */
  wasConnected: boolean;
  /** Whether the open socket is to resume rather than to identify. */
  isResuming: boolean;
  /** Whether there is a socket, open or opening. */
  hasSocket: boolean;
  /** The last numbered message, -1 for none. */
  seqAck: number;
  heartbeatMs: number;
  beatsMissed: number;
  /** Whether ICE and DTLS stand. */
  isMediaUp: boolean;
  /** Whether this machine is in another network than the one that media went out from: it cannot come back. */
  isElsewhere: boolean;
  /** The stream this client sends. */
  ssrc: number;
  /** What was last said of it. */
  speaking: number;
  speakers: Readonly<Record<Id, Speaker>>;
  /** Sockets and sessions tried since media last stood. */
  attempts: number;
  /** The same, since signalling last stood: how often a resume was tried. */
  resumes: number;
  /** What the retry timer is for. */
  retry: 'resume' | 'identify' | 'ask';
  /** This client left in order to come again: the main gateway's echo of that is no news. */
  expectsLeft: boolean;
  end: VoiceEnd | null;
  /** The last round trip of a heartbeat, in milliseconds. */
  signallingMs: number | null;
}

export type VoiceTimer =
  /** The main gateway, or the voice server, is to answer. */
  | 'patience'
  | 'heartbeat'
  /** Between two attempts. */
  | 'retry'
  /** Media is to arrive, or to come back. */
  | 'media';

export type VoiceInput =
  | { type: 'join'; guildId: Id; channelId: Id; selfMute: boolean; selfDeaf: boolean }
  | { type: 'leave' }
  | { type: 'flags'; selfMute: boolean; selfDeaf: boolean }
  /** From the main gateway: everybody's, of which this reads the user's own. */
  | { type: 'voice state'; update: VoiceStateUpdate; ownSession: string | null }
  | { type: 'voice server'; update: VoiceServerUpdate }
  /** The main gateway has a new session, to which the old one's voice states mean nothing. */
  | { type: 'main session lost' }
  | { type: 'frame'; text: string; now: number; random: number }
  | { type: 'closed'; code: number; random: number }
  | { type: 'timer'; timer: VoiceTimer; now: number; random: number }
  /** Media has an offer to make. */
  | { type: 'offered'; fragment: string; ssrc: number }
  | { type: 'media'; is: 'up' | 'interrupted' | 'elsewhere' | 'failed'; random: number }
  /** Whether the user's voice is being sent. */
  | { type: 'speaking'; bits: number }
  | { type: 'network changed'; random: number };

export type VoiceEffect =
  /** Ask the main gateway for a channel; null leaves. */
  | { type: 'ask'; guildId: Id; channelId: Id | null; selfMute: boolean; selfDeaf: boolean }
  /** Tell the main gateway that the voice server may be dead: it says where to go. */
  | { type: 'suspect' }
  | { type: 'open'; endpoint: string }
  | { type: 'send'; text: string }
  | { type: 'close'; code: number }
  | { type: 'timer'; timer: VoiceTimer; ms: number }
  | { type: 'cancel'; timer: VoiceTimer }
  /** Make a peer connection and an offer, ending any before it. */
  | { type: 'media start' }
  /** The server's fragment. */
  | { type: 'media describe'; fragment: string }
  | { type: 'media stop' }
  /** Socket and media are no more the machine's business, and go on until those stand that it asks for next, or the server ends them. */
  | { type: 'media yield' }
  /** What goes on so is over: the stay is somewhere else now. */
  | { type: 'former stop' }
  | { type: 'stream added'; userId: Id; ssrc: number }
  | { type: 'stream removed'; userId: Id; ssrc: number };

export interface VoiceTurn {
  state: VoiceState;
  effects: VoiceEffect[];
}

export function voiceState(userId: Id): VoiceState {
  return {
    phase: 'disconnected',
    userId,
    guildId: null,
    channelId: null,
    asked: null,
    selfMute: false,
    selfDeaf: false,
    sessionId: null,
    server: null,
    isDescribed: false,
    wasConnected: false,
    isResuming: false,
    hasSocket: false,
    seqAck: -1,
    heartbeatMs: 0,
    beatsMissed: 0,
    isMediaUp: false,
    isElsewhere: false,
    ssrc: 0,
    speaking: 0,
    speakers: {},
    attempts: 0,
    resumes: 0,
    retry: 'identify',
    expectsLeft: false,
    end: null,
    signallingMs: null,
  };
}

/** What the voice server is told at the beginning, once everything for it is known. */
export function credentials(state: VoiceState): Credentials | null {
  if (state.guildId === null || state.sessionId === null || state.server === null) return null;
  return { serverId: state.guildId, userId: state.userId, sessionId: state.sessionId, token: state.server.token };
}
