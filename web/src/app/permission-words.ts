// Permissions in plain words: those that this server decides by and that a page has a use for.

import { Permission, type Permissions } from '../protocol/permissions';

export interface PermissionGroup {
  title: string;
  permissions: [permission: Permissions, words: string, hint?: string][];
}

/** Of a role that one can neither change nor give. */
export const OUT_OF_REACH = 'not below your own highest role';

export const PERMISSIONS: readonly PermissionGroup[] = [
  {
    title: 'In the guild',
    permissions: [
      [Permission.VIEW_CHANNEL, 'See channels'],
      [Permission.CREATE_INSTANT_INVITE, 'Invite people'],
      [Permission.CHANGE_NICKNAME, 'Change their own nickname'],
    ],
  },
  {
    title: 'In voice',
    permissions: [
      [Permission.CONNECT, 'Join voice channels'],
      [Permission.SPEAK, 'Speak'],
      [Permission.USE_VAD, 'Speak without holding a key'],
      [Permission.PRIORITY_SPEAKER, 'Speak with priority'],
      [Permission.REQUEST_TO_SPEAK, 'Ask to speak on a stage'],
    ],
  },
  {
    title: 'In writing',
    permissions: [
      [Permission.SEND_MESSAGES, 'Write messages'],
      [Permission.READ_MESSAGE_HISTORY, 'Read what was written before'],
      [Permission.MENTION_EVERYONE, 'Call everybody at once'],
    ],
  },
  {
    title: 'As moderators',
    permissions: [
      [Permission.MUTE_MEMBERS, 'Mute others for everybody'],
      [Permission.DEAFEN_MEMBERS, 'Deafen others'],
      [Permission.MOVE_MEMBERS, 'Move and disconnect others'],
      [Permission.MANAGE_MESSAGES, 'Delete others’ messages'],
      [Permission.MANAGE_NICKNAMES, 'Change others’ nicknames'],
      [Permission.MODERATE_MEMBERS, 'Time others out'],
      [Permission.KICK_MEMBERS, 'Kick others from the guild'],
      [Permission.BAN_MEMBERS, 'Ban others'],
    ],
  },
  {
    title: 'As those who run the guild',
    permissions: [
      [Permission.MANAGE_CHANNELS, 'Create, change and delete channels'],
      [Permission.MANAGE_ROLES, 'Manage roles', 'Those below their own highest role.'],
      [Permission.MANAGE_GUILD, 'Manage the guild', 'Its name, its bots, its invites.'],
      [Permission.ADMINISTRATOR, 'Everything', 'All permissions, in every channel.'],
    ],
  },
];
