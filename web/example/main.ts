// A second client, to show how little one is: a token and a channel's id, and one talks. It is made of the layers below the
// pages (protocol, session, media) and of nothing else.

import { Intent } from '../src/protocol/gateway';
import type { Id } from '../src/protocol/objects';
import { Call } from '../src/media/call';
import { GatewayClient } from '../src/media/gateway-client';
import type { MicrophoneSettings } from '../src/media/microphone';
import { EMPTY_STORE, applyEvent, type Store } from '../src/session/store';

const MICROPHONE: MicrophoneSettings = {
  mode: 'voice',
  thresholdDb: -55,
  deviceId: '',
  echoCancellation: true,
  noiseSuppression: true,
  autoGainControl: true,
};
const ORIGIN = `${location.protocol === 'https:' ? 'wss:' : 'ws:'}//${location.host}`;

const form = document.querySelector<HTMLFormElement>('#form');
const leave = document.querySelector<HTMLButtonElement>('#leave');
const state = document.querySelector('#state');
const people = document.querySelector('#people');

function say(text: string): void {
  if (state !== null) state.textContent = text;
}

/** Whether the voice WebSocket goes through this page's server or straight to the voice server. */
async function voiceWay(): Promise<string> {
  const response = await fetch('client.json').catch(() => null);
  const told = (await response?.json().catch(() => null)) as { voice?: string } | null;
  return told?.voice ?? 'same-origin';
}

function guildOf(store: Store, channel: Id): Id | undefined {
  return Object.values(store.guilds).find((guild) => guild.channels[channel] !== undefined)?.id;
}

function show(store: Store, guildId: Id | null, channel: Id, speaking: ReadonlySet<Id>): void {
  const guild = guildId === null ? undefined : store.guilds[guildId];
  const here = Object.values(guild?.voice ?? {}).filter((voice) => voice.channel_id === channel);
  const items = here.map(({ user_id }) => {
    const item = document.createElement('li');
    const member = guild?.members[user_id];
    item.textContent = `${member?.nick ?? member?.user.username ?? user_id}${speaking.has(user_id) ? ' speaks' : ''}`;
    return item;
  });
  people?.replaceChildren(...items);
}

async function talk(token: string, channel: Id): Promise<() => void> {
  const way = await voiceWay();
  let store = EMPTY_STORE;
  let call: Call | null = null;
  let speaking: ReadonlySet<Id> = new Set();

  const begin = (userId: Id, guildId: Id): Call => {
    const made = new Call(
      {
        userId,
        voiceUrl: (endpoint) =>
          way === 'direct' ? `wss://${endpoint}/?v=8` : `${ORIGIN}/voice?v=8&endpoint=${encodeURIComponent(endpoint)}`,
        ask: (wish) => gateway.askForVoice(wish),
        suspect: () => gateway.suspectVoiceServer(),
        microphone: MICROPHONE,
      },
      {
        changed: ({ phase, end }) => say(end === null ? phase : `${phase}: ${end}`),
        speaking: (users) => {
          speaking = users;
          show(store, guildId, channel, speaking);
        },
        level: () => undefined,
        microphoneFailed: (error) => say(`no microphone: ${String(error)}`),
      },
    );
    made.mainSession(gateway.state.session?.id ?? '');
    made.join(guildId, channel);
    return made;
  };

  const gateway = new GatewayClient(ORIGIN, token, Intent.GUILDS | Intent.GUILD_VOICE_STATES, {
    dispatch(event) {
      store = applyEvent(store, event);
      if (event.t === 'READY') call?.mainSession(event.d.session_id);
      if (event.t === 'VOICE_STATE_UPDATE') call?.voiceState(event.d);
      if (event.t === 'VOICE_SERVER_UPDATE') call?.voiceServer(event.d);
      const guildId = guildOf(store, channel);
      if (call === null && guildId !== undefined && store.me !== null) call = begin(store.me.id, guildId);
      show(store, guildId ?? null, channel, speaking);
    },
    lost: () => call?.mainSessionLost(),
    changed: ({ phase, failure }) => {
      if (failure !== null) say(`refused: ${failure}`);
      else if (phase !== 'ready') say(`main gateway: ${phase}`);
    },
  });
  gateway.start();
  return () => {
    call?.leave();
    gateway.stop();
    people?.replaceChildren();
  };
}

form?.addEventListener('submit', (event) => {
  event.preventDefault();
  const given = new FormData(form);
  void talk(String(given.get('token')), String(given.get('channel'))).then((stop) => {
    if (leave === null) return;
    leave.disabled = false;
    leave.onclick = () => {
      stop();
      leave.disabled = true;
    };
  });
});
