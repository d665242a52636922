"""Digests of a body, in a thread beside its way to the nodes: MD5 is the dearest thing in a PUT.

Not for choosing algorithms or comparing results: the use case makes the digester and asks it
afterwards.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Protocol

from storaged.base.env import Env
from storaged.node import Buffer

OUTSTANDING_BYTES_MAX = 4 * 1024 * 1024  # content of one body that waits for its digest …
OUTSTANDING_BYTES_MIN = 512 * 1024  # … and with many bodies at once
OUTSTANDING_TOTAL_BYTES = 32 * 1024 * 1024  # shared by the bodies under way
INLINE_BYTES_MAX = 32 * 1024  # a hop to a thread and back costs as much as the MD5 of this


class Digester(Protocol):
    """Running digests of one body. Called from one thread at a time, in order."""

    def update_batch(self, buffers: Sequence[Buffer]) -> None:
        """Add content. Runs outside the event loop when there is much of it."""
        ...

    def finish(self) -> None:
        """All content has been added."""
        ...


class DigestPump:
    """Feeds a digester from the event loop, one batch at a time, in order.

    Buffers are kept by reference until they are digested: nobody may change them.
    """

    _open_count = 0  # bodies being digested in this process

    def __init__(self, digester: Digester, env: Env) -> None:
        self._digester = digester
        self._env = env
        self._waiting: list[Buffer] = []
        self._outstanding_bytes = 0
        self._worker: asyncio.Task[None] | None = None
        self._progress = asyncio.Event()
        self._open = True
        DigestPump._open_count += 1

    def _close(self) -> None:
        if self._open:
            self._open = False
            DigestPump._open_count -= 1

    def _outstanding_max(self) -> int:
        share = OUTSTANDING_TOTAL_BYTES // max(1, DigestPump._open_count)
        return max(OUTSTANDING_BYTES_MIN, min(OUTSTANDING_BYTES_MAX, share))

    async def feed(self, content: Buffer) -> None:
        """Add content; waits while more than this body's share is not digested yet.

        Raises: what the digester raised for earlier content.
        """
        if self._worker is not None and self._worker.done():
            self._worker.result()
            self._worker = None
        self._waiting.append(content)
        self._outstanding_bytes += len(content)
        if self._worker is None:
            self._worker = asyncio.create_task(self._work())
        if self._outstanding_bytes > (most := self._outstanding_max()):
            # Not at the first room: each batch is a hop to a thread and back, a few large ones do.
            while self._outstanding_bytes > most // 2 and not self._worker.done():
                self._progress.clear()
                await self._progress.wait()

    async def finish(self) -> None:
        """Wait for the last batch, then tell the digester. Raises: what the digester raised."""
        try:
            while self._worker is not None:
                worker, self._worker = self._worker, None
                await worker
                if self._waiting:
                    self._worker = asyncio.create_task(self._work())
            self._digester.finish()
        finally:
            self._close()

    def abandon(self) -> None:
        """The digests are not wanted any more; a batch under way ends by itself."""
        self._close()
        if self._worker is not None and not self._worker.cancel() and not self._worker.cancelled():
            self._worker.exception()  # seen, so that nobody is told that it was not

    async def _work(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                await self._env.offload(partial(self._digester.update_batch, batch))
                self._outstanding_bytes -= sum(len(content) for content in batch)
                self._progress.set()
        finally:
            self._progress.set()
