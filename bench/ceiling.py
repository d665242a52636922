"""The ceiling: what aiohttp on uvloop can do when the server stores nothing. FROZEN.

Ratios of different days are comparable only because this file does not change. It reads the body
with MD5 (PUT) or sends bytes (GET), and that is all: no authentication, no encryption, no disk. A
faster way to write it is a new file with another name, never an edit here.

Paths: `/{bucket}/{bytes}/{anything}`; a GET of it answers `bytes` bytes, a HEAD their length.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import signal

import uvloop
from aiohttp import web

PIECE_BYTES = 1024 * 1024
WHOLE_BYTES_MAX = 1024 * 1024  # answers up to this are one write
PIECE = bytes(PIECE_BYTES)

_bodies: dict[int, bytes] = {}


async def answer(request: web.BaseRequest) -> web.StreamResponse:
    """Serve one request: PUT reads with MD5, GET and HEAD send, DELETE says 204."""
    if request.method == "PUT":
        digest = hashlib.md5(usedforsecurity=False)
        async for piece in request.content.iter_any():
            digest.update(piece)
        return web.Response(headers={"ETag": f'"{digest.hexdigest()}"'})
    if request.method == "DELETE":
        return web.Response(status=204)
    length = int(request.raw_path.split("/", 3)[2])
    if length <= WHOLE_BYTES_MAX:
        body = _bodies.get(length)
        if body is None:
            body = _bodies[length] = bytes(length)
        return web.Response(body=body)
    response = web.StreamResponse()
    response.content_length = length
    await response.prepare(request)
    if request.method == "GET":
        view = memoryview(PIECE)
        for offset in range(0, length, PIECE_BYTES):
            await response.write(view[: min(PIECE_BYTES, length - offset)])
    await response.write_eof()
    return response


async def serve(port: int) -> None:
    """Listen on loopback, print the port, run until SIGTERM."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stopped.set)
    protocol = web.Server(answer, access_log=None)
    server = await loop.create_server(protocol, "127.0.0.1", port)
    print(server.sockets[0].getsockname()[1], flush=True)
    await stopped.wait()
    server.close()
    await protocol.shutdown(1.0)


def main() -> None:
    """Command line: `python -m bench.ceiling [--port N]`; 0 lets the kernel choose."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    uvloop.run(serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
