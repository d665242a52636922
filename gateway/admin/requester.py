"""Who asks for what has to be approved: as a request for approval names him.

Not for deciding whether he may. On the Unix socket it is the user that the kernel tells, so an
operator cannot ask as somebody else.
"""

from __future__ import annotations

import socket
import struct

from aiohttp import web

from gateway.admin.gate import ACTOR, Actor

_PEER = struct.Struct("3i")  # pid, uid, gid


def requester_of(request: web.Request) -> str:
    """The administrator's name, or on the socket one such as `uid-1000`."""
    actor: Actor | None = request.get(ACTOR)
    if actor is not None and not actor.is_local:
        return actor.name
    transport = request.transport
    held = None if transport is None else transport.get_extra_info("socket")
    if held is None:
        return "admin"
    try:
        told = held.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size)
    except OSError:
        return "admin"
    return f"uid-{_PEER.unpack(told)[1]}"
