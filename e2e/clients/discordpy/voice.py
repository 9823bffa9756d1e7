"""One bot's voice connection: what discord.py goes through, turned into the events of the control protocol."""

import asyncio
import logging
import socket
import sys

import discord
from control import emit
from discord.voice_state import ConnectionFlowState, VoiceConnectionState
from ears import Ears, with_tones
from tone import Tone

SPEAKING_OP = 5
DATAGRAM_BYTES_MAX = 2_048
LOOK_AGAIN_S = 0.1


class Voice:
    """What outlives a single voice connection: the tone to play, the ears, and where the bot is meant to be."""

    def __init__(self, guild: discord.Guild) -> None:
        self._guild = guild
        self._ears = Ears()
        self._hz: float | None = None
        self._joining: int | None = None
        self._connected: int | None = None

    async def join(self, channel_id: int) -> None:
        channel = self._guild.get_channel(channel_id)
        if channel is None:
            raise ValueError(f'no channel {channel_id}')
        self._joining = channel_id
        try:
            await self._go_to(channel)
        except (asyncio.TimeoutError, discord.DiscordException) as why:
            self._joining = None
            emit('error', message=f'cannot join {channel_id}: {why!r}')

    async def leave(self) -> None:
        await self._present().disconnect()

    def tone(self, hz: float, on: bool) -> None:
        self._hz = hz if on else None
        if voice := self._guild.voice_client:
            voice.stop()
            self._play()

    async def hear(self, seconds: float) -> None:
        self._ears.listen()
        await asyncio.sleep(seconds)
        streams = self._ears.take_window()
        # Not on the event loop, which has packets to receive.
        emit('heard', streams=await asyncio.to_thread(with_tones, streams))

    def cut(self) -> None:
        """Shuts the socket under the voice WebSocket, as a network would: no closing handshake."""
        self._present().ws.ws.get_extra_info('socket').shutdown(socket.SHUT_RDWR)

    def state(self) -> None:
        voice = self._guild.voice_client
        connected = voice is not None and voice.is_connected()
        emit(
            'state',
            channel=str(voice.channel.id) if voice else None,
            connected=connected,
            mode=voice.mode if connected else None,
        )

    async def close(self) -> None:
        if voice := self._guild.voice_client:
            await voice.disconnect(force=True)

    def connected(self, voice: 'ObservedVoiceClient') -> None:
        """A connection that was asked for is a join; one that was not is a move, or in the same channel a new one."""
        channel, before = voice.channel.id, self._connected
        self._connected = channel
        if self._joining == channel:
            self._joining = None
            emit('joined', channel=str(channel), mode=voice.mode)
        elif before == channel:
            emit('voice_reconnected')
        else:
            emit('moved', channel=str(channel), mode=voice.mode)
        self._play()

    def disconnected(self, code: int | None) -> None:
        # A failed join is told by the join itself.
        if self._connected is not None:
            emit('disconnected', code=code)
        self._connected = None

    def speaking(self, ssrc: int, user: str | None) -> None:
        if user is not None:
            self._ears.users[ssrc] = user
        emit('speaking', user=user, ssrc=ssrc)

    async def _go_to(self, channel: discord.VoiceChannel) -> None:
        if voice := self._guild.voice_client:
            await voice.move_to(channel)
            # The library only logs a move that failed.
            if self._joining == channel.id:
                raise asyncio.TimeoutError('the move never arrived')
        else:
            await channel.connect(cls=self._client, self_deaf=False, self_mute=False)

    def _client(self, client: discord.Client, channel: discord.VoiceChannel) -> 'ObservedVoiceClient':
        return ObservedVoiceClient(client, channel, self, self._ears)

    def _present(self) -> 'ObservedVoiceClient':
        if voice := self._guild.voice_client:
            return voice
        raise ValueError('not in a channel')

    def _play(self) -> None:
        voice = self._guild.voice_client
        if self._hz is not None and voice and voice.is_connected() and not voice.is_playing():
            voice.play(Tone(self._hz))


class ObservedVoiceClient(discord.VoiceClient):
    """discord.py's own client, which also tells what it goes through."""

    def __init__(self, client: discord.Client, channel: discord.VoiceChannel, voice: Voice, ears: Ears) -> None:
        self._voice = voice
        self._ears = ears
        self._media: socket.socket | None = None
        self._gone = False
        super().__init__(client, channel)

    def create_connection_state(self) -> VoiceConnectionState:
        return ObservedConnection(self, hook=self._message)

    def changed(self, state: ConnectionFlowState) -> None:
        # Until it stands again, what comes is the library's: it may keep the socket and expect an answer there.
        self._stop_overhearing()
        if state is not ConnectionFlowState.connected:
            return
        self._overhear(self._connection.socket)
        # The library has set its state but not yet woken who waits for it.
        self.loop.call_soon(self._voice.connected, self)

    def cleanup(self) -> None:
        super().cleanup()
        self._stop_overhearing()
        if not self._gone:
            self._gone = True
            socket_of_ws = getattr(self.ws, 'ws', None)
            self._voice.disconnected(getattr(socket_of_ws, 'close_code', None))

    def _overhear(self, media: socket.socket) -> None:
        """Reads the library's socket through a descriptor of our own.

        The library's own listeners would do, but for a defect: while one is registered, its reader thread waits on the
        socket of the previous connection and misses the answer that the next one needs. Without any it behaves as in
        every bot that only sends.
        """
        self._media = media.dup()
        self._media.setblocking(False)
        self.loop.add_reader(self._media, self._read)

    def _stop_overhearing(self) -> None:
        if self._media is not None:
            self.loop.remove_reader(self._media)
            self._media.close()
            self._media = None

    def _read(self) -> None:
        try:
            while True:
                datagram = self._media.recv(DATAGRAM_BYTES_MAX)
                if self._reads_alone():
                    self._ears.datagram(self, datagram)
        except BlockingIOError:
            return
        except OSError as why:
            # The server's port may be closed for a moment; the library takes no notice of that either.
            logging.getLogger('bot').debug('media socket: %r', why)

    def _reads_alone(self) -> bool:
        """Whether the library's thread has left the socket to us.

        Told to pause, it still takes the next datagram that comes and throws it away; only then it waits until it is told to go on. Which
        one that is depends on who is faster, so that nothing counts as heard before.
        """
        frame = sys._current_frames().get(self._connection._socket_reader.ident)
        while frame is not None and frame.f_code.co_name != 'wait':
            frame = frame.f_back
        return frame is not None

    async def _message(self, _: object, message: dict) -> None:
        if message['op'] == SPEAKING_OP:
            data = message['d']
            self._voice.speaking(data['ssrc'], data.get('user_id'))


class ObservedConnection(VoiceConnectionState):
    @property
    def state(self) -> ConnectionFlowState:
        return VoiceConnectionState.state.fget(self)

    @state.setter
    def state(self, state: ConnectionFlowState) -> None:
        before = self._state
        VoiceConnectionState.state.fset(self, state)
        if state is not before:
            # The library looks at the state, and only in the loop's next turn begins to wait for its change. A server that
            # answers within that turn is never noticed, so whoever waits is made to look again.
            self.voice_client.loop.call_later(LOOK_AGAIN_S, self._look_again)
            self.voice_client.changed(state)

    def _look_again(self) -> None:
        self._state_event.set()
        self._state_event.clear()
