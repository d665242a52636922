"""Job `certificates`: how long the certificates of nodes and of this gateway are good for.

Not for renewing them (`storaged.renewal`): a node's is looked at in a handshake of its own, so that
it is the one that new connections get.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

from storaged.base.env import Env
from storaged.base.errors import StorageError
from storaged.base.jobs import Progress

LOOK_S = 900.0
FIRST_LOOK_S = 5.0
DAY_MS = 86_400_000
LATE_AFTER = 2 / 3  # of its life: by then a certificate should have been renewed

LifeOf = Callable[[], Awaitable[tuple[int, int]]]
"""When a certificate begins and ends, UTC in ms."""


class CertificateWatch:
    """Asks every holder in each round; who does not answer keeps what was last seen."""

    name = "certificates"

    def __init__(self, holders: Mapping[str, LifeOf], env: Env) -> None:
        self._holders = holders
        self._env = env
        self._lives: dict[str, tuple[int, int]] = {}
        self._rounds = 0

    async def step(self) -> float:
        """Look at all of them."""
        for name, life_of in self._holders.items():
            try:
                self._lives[name] = await life_of()
            except (StorageError, OSError):
                continue  # status tells of a node that does not answer
        self._rounds += 1
        return LOOK_S if self._lives or not self._holders else FIRST_LOOK_S

    def progress(self) -> Progress:
        """How many certificates are known."""
        return Progress(done=len(self._lives), total=len(self._holders), unit="certificates")

    def days_left(self) -> dict[str, float]:
        """By holder; below 0 where it has ended."""
        now_ms = self._env.now_ms()
        return {name: (ends_ms - now_ms) / DAY_MS for name, (_, ends_ms) in self._lives.items()}

    def warnings(self) -> list[str]:
        """Certificates that should have been renewed by now, the first to end first."""
        now_ms, found = self._env.now_ms(), []
        for name, (begins_ms, ends_ms) in sorted(self._lives.items(), key=lambda one: one[1][1]):
            if now_ms > begins_ms + (ends_ms - begins_ms) * LATE_AFTER:
                days = (ends_ms - now_ms) / DAY_MS
                when = f"ends in {days:.1f} days" if days > 0 else "has ended"
                found.append(f"the certificate of {name} {when} and was not renewed")
        return found
