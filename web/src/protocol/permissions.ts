// Permission bits. They travel as decimal strings, because they exceed what a number holds exactly.

export const Permission = {
  CREATE_INSTANT_INVITE: 1n << 0n,
  KICK_MEMBERS: 1n << 1n,
  BAN_MEMBERS: 1n << 2n,
  ADMINISTRATOR: 1n << 3n,
  MANAGE_CHANNELS: 1n << 4n,
  MANAGE_GUILD: 1n << 5n,
  ADD_REACTIONS: 1n << 6n,
  VIEW_AUDIT_LOG: 1n << 7n,
  PRIORITY_SPEAKER: 1n << 8n,
  STREAM: 1n << 9n,
  VIEW_CHANNEL: 1n << 10n,
  SEND_MESSAGES: 1n << 11n,
  MANAGE_MESSAGES: 1n << 13n,
  EMBED_LINKS: 1n << 14n,
  ATTACH_FILES: 1n << 15n,
  READ_MESSAGE_HISTORY: 1n << 16n,
  MENTION_EVERYONE: 1n << 17n,
  CONNECT: 1n << 20n,
  SPEAK: 1n << 21n,
  MUTE_MEMBERS: 1n << 22n,
  DEAFEN_MEMBERS: 1n << 23n,
  MOVE_MEMBERS: 1n << 24n,
  USE_VAD: 1n << 25n,
  CHANGE_NICKNAME: 1n << 26n,
  MANAGE_NICKNAMES: 1n << 27n,
  MANAGE_ROLES: 1n << 28n,
  REQUEST_TO_SPEAK: 1n << 32n,
  USE_EMBEDDED_ACTIVITIES: 1n << 39n,
  MODERATE_MEMBERS: 1n << 40n,
  USE_SOUNDBOARD: 1n << 42n,
  USE_EXTERNAL_SOUNDS: 1n << 45n,
  SET_VOICE_CHANNEL_STATUS: 1n << 48n,
} as const;

export type Permissions = bigint;

export const ALL_PERMISSIONS: Permissions = (1n << 64n) - 1n;
export const NO_PERMISSIONS: Permissions = 0n;

/** What a member who may not CONNECT to a voice channel loses there. */
export const VOICE_PERMISSIONS: Permissions =
  Permission.PRIORITY_SPEAKER |
  Permission.STREAM |
  Permission.SPEAK |
  Permission.MUTE_MEMBERS |
  Permission.DEAFEN_MEMBERS |
  Permission.MOVE_MEMBERS |
  Permission.USE_VAD |
  Permission.REQUEST_TO_SPEAK |
  Permission.USE_EMBEDDED_ACTIVITIES |
  Permission.USE_SOUNDBOARD |
  Permission.USE_EXTERNAL_SOUNDS |
  Permission.SET_VOICE_CHANNEL_STATUS;

/** What a member keeps while timed out. */
export const TIMED_OUT_PERMISSIONS: Permissions = Permission.VIEW_CHANNEL | Permission.READ_MESSAGE_HISTORY;

/** Whether all the asked bits are there. */
export function has(permissions: Permissions, asked: Permissions): boolean {
  return (permissions & asked) === asked;
}

/** Reads the travelling form. What is no number grants nothing. */
export function readPermissions(text: string): Permissions {
  return /^\d+$/.test(text) ? BigInt(text) : NO_PERMISSIONS;
}
