// A test bot: discord.js and @discordjs/voice as published, told what to do by one JSON object a line.
//
// Owns: the wiring of the library and the gateway's events. Not here: voice (`voice.js`), and any change of the
// library's behaviour; the server is right when this bot works.

import { Client, Events, GatewayIntentBits } from 'discord.js';

import { emit, obey, options } from './control.js';
import { Voice } from './voice.js';

async function main() {
  const { api, token, guild } = options(process.argv.slice(2));
  const client = new Client({
    intents: [GatewayIntentBits.Guilds, GatewayIntentBits.GuildVoiceStates],
    rest: { api: api.replace(/\/$/, '') },
  });
  report(client);
  const ready = new Promise((resolve) => client.once(Events.ClientReady, resolve));
  await client.login(token);
  await ready;
  const home = client.guilds.cache.get(guild);
  if (!home) throw new Error(`guild ${guild} is not among this account's`);
  const voice = new Voice(home);
  await obey((command) => carryOut(command, client, voice));
  voice.close();
  await client.destroy();
}

function carryOut(command, client, voice) {
  switch (command.do) {
    case 'join':
      return voice.join(command.channel);
    case 'leave':
      return voice.leave();
    case 'tone':
      return voice.tone(command.hz, command.on);
    case 'hear':
      return voice.hear(command.seconds);
    case 'cut_voice_ws':
      return voice.cut();
    case 'cut_gateway_ws':
      return cutGateway(client);
    case 'state':
      return voice.state();
    default:
      throw new Error('unknown command');
  }
}

/** Destroys the socket under the gateway's WebSocket, as a network would: no closing handshake. */
function cutGateway(client) {
  client.ws._ws.strategy.shards.first().connection._socket.destroy();
}

function report(client) {
  client.once(Events.ClientReady, ({ user, guilds }) => {
    emit('ready', { user: user.id });
    guilds.cache.forEach(reportGuild);
    // Not before: the guilds there are from the start become available one by one.
    client.on(Events.GuildCreate, reportGuild);
    client.on(Events.GuildAvailable, reportGuild);
  });
  client.on(Events.ShardResume, () => emit('resumed'));
  client.on(Events.VoiceStateUpdate, (_, state) => {
    emit('voice_state', {
      user: state.id,
      channel: state.channelId,
      mute: Boolean(state.serverMute),
      deaf: Boolean(state.serverDeaf),
    });
  });
  client.on(Events.Error, (error) => emit('error', { message: error.message }));
  client.on(Events.Debug, (message) => process.env.BOT_DEBUG && console.error(message));
}

function reportGuild(guild) {
  emit('guild', { id: guild.id, channels: guild.channels.cache.size, members: guild.members.cache.size });
}

main().then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    emit('error', { message: error.message });
    process.exit(1);
  },
);
