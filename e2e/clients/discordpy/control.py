"""The control protocol: commands read from standard input, events written to standard output, one JSON object a line.

`e2e/clients/README.md` describes it for all bots.
"""

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument('--api', required=True)
    parser.add_argument('--gateway')
    parser.add_argument('--token', required=True)
    parser.add_argument('--guild', required=True, type=int)
    return parser.parse_args()


def emit(event: str, **fields: object) -> None:
    """Every event says when it was told, by the bot's own clock."""
    # One write a line, because the socket's thread and the event loop both have things to tell.
    sys.stdout.write(json.dumps({'event': event, **fields, 'at_ms': time.monotonic() * 1_000}) + '\n')
    sys.stdout.flush()


async def commands() -> AsyncIterator[dict]:
    """Every command until told to quit, or until whoever gives them is gone."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        try:
            command = json.loads(line)
        except ValueError as why:
            emit('error', message=f'not a command: {why}: {line!r}')
            continue
        if command.get('do') == 'quit':
            return
        yield command
