"""The one thread that calls a PKCS#11 module, and what its callers get when it hangs.

Modules differ in what they bear from several threads, and bindings in what they tell modules about
them: calls from one thread only are safe with all of them. The thread is a daemon: one that hangs
inside a module keeps no process from ending.

A module does not survive a fork: the child gets `HsmUnavailable` and has to open one of its own.

Source: PKCS#11 v3.1, 5.4 "General-purpose functions" (C_Initialize, applications and processes).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from queue import Full, Queue
from typing import TypeVar

from gateway.keyd.pkcs11_port import HsmUnavailable
from storaged.base.env import Env

T = TypeVar("T")

CALLS_MAX = 1024  # that wait for the thread


class HsmThread:
    """Runs calls one after another. Any thread may call `run`."""

    def __init__(self, env: Env) -> None:
        self._env = env
        self._pid = os.getpid()
        self._calls: Queue[Callable[[], None] | None] = Queue(CALLS_MAX)
        self._running_since_s: float | None = None
        self._thread = threading.Thread(target=self._serve, name="pkcs11", daemon=True)
        self._thread.start()

    def run(self, call: Callable[[], T], deadline_s: float) -> T:
        """What `call` returns or raises.

        Raises: HsmUnavailable: it did not end in time (it may still), others wait for a call that
            hangs, too many wait, or this is a fork of the process that opened the module.
        """
        if os.getpid() != self._pid:
            raise HsmUnavailable(reason="forked: a PKCS#11 module belongs to the process it opened")
        since_s = self._running_since_s
        if since_s is not None and self._env.monotonic_s() - since_s > deadline_s:
            raise HsmUnavailable(reason="the module does not answer")
        answer: Future[T] = Future()

        def serve() -> None:
            if not answer.set_running_or_notify_cancel():
                return  # its caller waits no more
            try:
                answer.set_result(call())
            except BaseException as error:
                answer.set_exception(error)

        try:
            self._calls.put_nowait(serve)
        except Full:
            raise HsmUnavailable(reason="too many calls wait", calls_max=CALLS_MAX) from None
        try:
            return answer.result(deadline_s)
        except (TimeoutError, CancelledError):
            answer.cancel()
            raise HsmUnavailable(
                reason="the module did not answer in time", deadline_s=deadline_s
            ) from None

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            self._running_since_s = self._env.monotonic_s()
            call()
            self._running_since_s = None
            del call  # or what it holds would live until the next one
