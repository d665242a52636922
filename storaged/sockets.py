"""What both ends of a node connection ask of their TCP sockets."""

from __future__ import annotations

import asyncio
import ipaddress
import socket

from storaged.base.errors import ConfigError
from storaged.base.limits import TCP_USER_TIMEOUT_MS

_KEEPALIVE_IDLE_S = 10
_KEEPALIVE_STEP_S = 5
_KEEPALIVE_COUNT = 3


def require_loopback(host: str) -> None:
    """Without TLS a node may only be on this machine. Raises ConfigError."""
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise ConfigError(reason="node traffic without TLS beyond loopback", host=host)


def tune_socket(transport: asyncio.BaseTransport) -> None:
    """No delay, keepalive, and a bound on how long sent bytes may stay unacknowledged."""
    sock = transport.get_extra_info("socket")
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _KEEPALIVE_IDLE_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, _KEEPALIVE_STEP_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, _KEEPALIVE_COUNT)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, TCP_USER_TIMEOUT_MS)
