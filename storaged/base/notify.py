"""Telling systemd how far a daemon is: sd_notify, for units of `Type=notify`.

Not for health: that is answered by `/readyz`. Where NOTIFY_SOCKET is not set, nothing happens.

Source: sd_notify(3).
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket

from storaged.base.log import Log

READY = "READY=1"
STOPPING = "STOPPING=1"

_LOG = Log("storaged.base.notify")


def notify_systemd(state: str) -> None:
    """Send one state. A socket that cannot be reached is logged, never an error."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        try:
            sock.sendto(state.encode(), address)
        except OSError as error:
            _LOG.warning("systemd not told", state=state, error=error)


def ignore_stop_signals(loop: asyncio.AbstractEventLoop) -> None:
    """From here to the end of the process: it is stopping already, and an impatient second SIGTERM
    must not turn a clean end into a kill. Closing a loop would bring the default action back.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.remove_signal_handler(number)
        signal.signal(number, signal.SIG_IGN)
