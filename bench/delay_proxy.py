"""A TCP proxy that makes bytes arrive later: distance between datacenters on one machine.

Each direction holds every byte for the same time and keeps their order; throughput is not limited
but by the bound on what is under way. The time to connect is not stretched.

`python -m bench.delay_proxy LISTEN:PORT:ONE_WAY_MS…`, ports of loopback: listens on the first of
each, passes on to the second. It prints `ready` when it listens, and runs until SIGTERM.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections import deque
from typing import Any

import uvloop

UNDER_WAY_BYTES_MAX = 64 * 1024 * 1024  # per direction; a reader beyond it waits


class Direction:
    """Bytes on their way from one socket to the other."""

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self._loop = asyncio.get_running_loop()
        self._queue: deque[tuple[float, bytes | None]] = deque()  # None: the end of the stream
        self._under_way_bytes = 0
        self._timer: asyncio.TimerHandle | None = None
        self.source: asyncio.Transport | None = None
        self.target: asyncio.Transport | None = None

    def send(self, piece: bytes | None) -> None:
        """Deliver a piece, or the end, after the delay."""
        self._queue.append((self._loop.time() + self._delay_s, piece))
        self._under_way_bytes += len(piece or b"")
        if self._under_way_bytes > UNDER_WAY_BYTES_MAX and self.source is not None:
            self.source.pause_reading()
        self.wake()

    def wake(self) -> None:
        """Set the timer for the first piece, if there is somewhere to deliver it."""
        if self._timer is None and self._queue and self.target is not None:
            self._timer = self._loop.call_at(self._queue[0][0], self._deliver)

    def _deliver(self) -> None:
        self._timer = None
        # Timers fire at whole milliseconds, so what is due within half of one goes along.
        due = self._loop.time() + 0.0005
        assert self.target is not None, "wake() sets no timer without a target"
        while self._queue and self._queue[0][0] <= due:
            _, piece = self._queue.popleft()
            if piece is None:
                self.target.close()
                continue
            self._under_way_bytes -= len(piece)
            if not self.target.is_closing():
                self.target.write(piece)
        if self._under_way_bytes <= UNDER_WAY_BYTES_MAX // 2 and self.source is not None:
            self.source.resume_reading()
        self.wake()


class Side(asyncio.Protocol):
    """One of the two sockets of a proxied connection."""

    def __init__(self, *, outgoing: Direction, incoming: Direction) -> None:
        """
        Args:
            outgoing: takes what this socket reads; incoming: what this socket writes.
        """
        self._outgoing = outgoing
        self._incoming = incoming

    def connection_made(self, transport: Any) -> None:  # uvloop's are of no asyncio class
        self._outgoing.source = transport
        self._incoming.target = transport
        self._incoming.wake()

    def data_received(self, data: bytes) -> None:
        self._outgoing.send(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._outgoing.source = None
        self._outgoing.send(None)


class DelayProxy:
    """Listens in the place of one target."""

    def __init__(self, host: str, port: int, *, one_way_s: float) -> None:
        self._host, self._port, self._one_way_s = host, port, one_way_s
        self._server: asyncio.Server | None = None
        self._dialling: set[asyncio.Task[None]] = set()

    async def start(self, listen: int = 0) -> int:
        """Listen on a port of loopback, by default one that the kernel chooses; the port."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, "127.0.0.1", listen)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    def _accept(self) -> Side:
        forth, back = Direction(self._one_way_s), Direction(self._one_way_s)
        task = asyncio.get_running_loop().create_task(self._dial(forth, back))
        self._dialling.add(task)
        task.add_done_callback(self._dialling.discard)
        return Side(outgoing=forth, incoming=back)

    async def _dial(self, forth: Direction, back: Direction) -> None:
        loop = asyncio.get_running_loop()
        try:
            await loop.create_connection(
                lambda: Side(outgoing=back, incoming=forth), self._host, self._port
            )
        except OSError:
            back.send(None)

    def close(self) -> None:
        """Listen no more; what is open goes on."""
        if self._server is not None:
            self._server.close()


async def serve(places: list[str]) -> None:
    """Proxy all places until SIGTERM."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    proxies = []
    for place in places:
        listen, port, one_way_ms = place.split(":")
        proxies.append(DelayProxy("127.0.0.1", int(port), one_way_s=float(one_way_ms) / 1000.0))
        await proxies[-1].start(int(listen))
    print("ready", flush=True)
    await stopped.wait()
    for proxy in proxies:
        proxy.close()


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("places", nargs="+", metavar="LISTEN:PORT:ONE_WAY_MS")
    uvloop.run(serve(parser.parse_args().places))


if __name__ == "__main__":
    main()
