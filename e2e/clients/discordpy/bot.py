"""A test bot: discord.py as published, told what to do by one JSON object a line.

Owns: the wiring of the library and the gateway's events. Not here: voice (`voice.py`), and any change of the library's
behaviour; the server is right when this bot works.
"""

import asyncio
import json
import logging
import os
import socket
import sys
import urllib.request

import discord
import yarl
from control import commands, emit, options
from voice import Voice


class Bot(discord.Client):
    def __init__(self, guild_id: int) -> None:
        super().__init__(intents=discord.Intents(guilds=True, voice_states=True))
        self._guild_id = guild_id
        self._obeying: asyncio.Task | None = None

    async def on_ready(self) -> None:
        emit('ready', user=str(self.user.id))
        for guild in self.guilds:
            report(guild)
        # Ready again after a connection that could not be resumed: the bot is under way then.
        if self._obeying is None:
            self._obeying = asyncio.create_task(self._obey())

    async def on_guild_available(self, guild: discord.Guild) -> None:
        # The guilds there were from the start are reported when the bot is ready.
        if self._obeying is not None:
            report(guild)

    on_guild_join = on_guild_available

    async def on_resumed(self) -> None:
        emit('resumed')

    async def on_voice_state_update(
        self, member: discord.Member, _: discord.VoiceState, after: discord.VoiceState
    ) -> None:
        channel = str(after.channel.id) if after.channel else None
        emit('voice_state', user=str(member.id), channel=channel, mute=after.mute, deaf=after.deaf)

    async def _obey(self) -> None:
        guild = self.get_guild(self._guild_id)
        if guild is None:
            emit('error', message=f"guild {self._guild_id} is not among this account's")
        else:
            voice = Voice(guild)
            # Tasks of their own: the bot must stay able to cut sockets while a join is under way.
            async with asyncio.TaskGroup() as tasks:
                async for command in commands():
                    tasks.create_task(self._carry_out(command, voice))
                await voice.close()
        await self.close()

    async def _carry_out(self, command: dict, voice: Voice) -> None:
        try:
            match command:
                case {'do': 'join', 'channel': channel}:
                    await voice.join(int(channel))
                case {'do': 'leave'}:
                    await voice.leave()
                case {'do': 'tone', 'hz': hz, 'on': on}:
                    voice.tone(hz, on)
                case {'do': 'hear', 'seconds': seconds}:
                    await voice.hear(seconds)
                case {'do': 'cut_voice_ws'}:
                    voice.cut()
                case {'do': 'cut_gateway_ws'}:
                    self._cut_gateway()
                case {'do': 'state'}:
                    voice.state()
                case _:
                    emit('error', message=f'unknown command {command}')
        except Exception as why:  # noqa: BLE001 - whatever goes wrong is the test's to judge
            logging.getLogger('bot').exception('%s', command)
            emit('error', message=f'{command}: {why!r}')

    def _cut_gateway(self) -> None:
        """Shuts the socket under the gateway's WebSocket, as a network would: no closing handshake."""
        self.ws.socket.get_extra_info('socket').shutdown(socket.SHUT_RDWR)


def report(guild: discord.Guild) -> None:
    emit('guild', id=str(guild.id), channels=len(guild.channels), members=len(guild.members))


def discover_gateway(api: str) -> str:
    with urllib.request.urlopen(f'{api}/v10/gateway', timeout=10) as answer:
        return json.load(answer)['url']


def main() -> int:
    given = options()
    discord.utils.setup_logging(
        handler=logging.StreamHandler(sys.stderr), level=logging.DEBUG if os.environ.get('BOT_DEBUG') else logging.INFO
    )
    if not discord.opus.is_loaded():
        discord.opus.load_opus('libopus.so.0')
    api = given.api.rstrip('/')
    try:
        # A plain client never asks the REST API where the gateway is.
        gateway = given.gateway or discover_gateway(api)
        discord.http.Route.BASE = f'{api}/v10'
        discord.gateway.DiscordWebSocket.DEFAULT_GATEWAY = yarl.URL(gateway)
        asyncio.run(run(given))
    except (OSError, discord.DiscordException) as why:
        emit('error', message=f'{why}')
        return 1
    return 0


async def run(given) -> None:
    async with Bot(given.guild) as bot:
        await bot.start(given.token)


if __name__ == '__main__':
    sys.exit(main())
