"""The NATS destination against a server that speaks just enough of the protocol."""

from __future__ import annotations

import asyncio
import json

import pytest

from gateway.outside.nats_stream import NatsStream
from gateway.outside.webhook import MessageRefused

INFO = {"server_id": "t", "version": "2.10.0", "headers": True, "max_payload": 1 << 20, "proto": 1}


class Server:
    """Acknowledges what is published, or says that there is no stream."""

    def __init__(self, *, has_stream: bool) -> None:
        self.published: list[tuple[str, bytes]] = []
        self._has_stream = has_stream
        self._server: asyncio.Server | None = None

    async def start(self) -> str:
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", 0)
        return f"nats://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/events.s3"

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"INFO " + json.dumps(INFO).encode() + b"\r\n")
        sid = ""
        while line := await reader.readline():
            verb, *words = line.decode().split()
            if verb == "PING":
                writer.write(b"PONG\r\n")
            elif verb == "SUB":
                sid = words[-1]
            elif verb == "PUB":
                subject, reply, length = words
                body = (await reader.readexactly(int(length) + 2))[:-2]
                if self._has_stream:
                    self.published.append((subject, body))
                    ack = b'{"stream":"EVENTS","seq":1}'
                    writer.write(f"MSG {reply} {sid} {len(ack)}\r\n".encode() + ack + b"\r\n")
                else:
                    nobody = b"NATS/1.0 503\r\n\r\n"
                    head = f"HMSG {reply} {sid} {len(nobody)} {len(nobody)}\r\n"
                    writer.write(head.encode() + nobody + b"\r\n")
        writer.close()


@pytest.mark.parametrize("has_stream", [True, False])
def test_a_message_is_taken_when_the_stream_says_so(has_stream: bool) -> None:
    async def scenario() -> None:
        server = Server(has_stream=has_stream)
        stream = NatsStream(await server.start())
        try:
            if has_stream:
                await stream.send(b"{}")
                await stream.send(b"[]")
            else:
                with pytest.raises(MessageRefused):
                    await stream.send(b"{}")
        finally:
            await stream.close()
            await server.stop()
        taken = [("events.s3", b"{}"), ("events.s3", b"[]")]
        assert server.published == (taken if has_stream else [])

    asyncio.run(scenario())


def test_nobody_there() -> None:
    async def scenario() -> None:
        stream = NatsStream("nats://127.0.0.1:9/events")
        with pytest.raises(MessageRefused):
            await stream.send(b"{}")
        await stream.close()

    asyncio.run(scenario())
