"""What the socket of the gateway's machine is good for: everything while there are no accounts.

Bootstrap is over for good with the first account and a listener: disabling accounts brings it not
back, for whoever may disable them is the local root. The ways back need the gateway's
configuration and a restart, are in the journal from the start on, and are warned of: `local =
"all"`, and `break_glass_until`, which ends by itself. Accounts are never removed, so that there is
one says that there has been one.

Requirements: A-03, A-05.
"""

from __future__ import annotations

from datetime import datetime

from gateway.journal.events import CLUSTER, Event, Phase, Value
from gateway.journal.journal import Journal
from gateway.meta.kv import RowCorrupt
from gateway.model.administrators import LocalRights
from gateway.objects.administrators import Administrators
from storaged.base.env import Env
from storaged.base.errors import ConfigError

BREAK_GLASS_HOURS_MAX = 24
OPENED = "admin.break-glass"  # type of the event


def break_glass_ms(text: str) -> int:
    """The end of a break-glass as UTC milliseconds; 0 for "". Raises: ConfigError."""
    if not text:
        return 0
    try:
        until = datetime.fromisoformat(text)
    except ValueError as error:
        raise _unfit("no time such as 2026-11-23T12:00:00Z") from error
    if until.tzinfo is None:
        raise _unfit("the time zone is missing: 2026-11-23T12:00:00Z")
    return int(until.timestamp() * 1000)


class LocalRoot:
    """Rights of who opens the socket.

    Args:
        administrators: None: there are no accounts, so he does everything.
        until_ms: end of a break-glass, UTC; 0: there is none. It counts down by the monotonic
            clock, so nobody makes it longer by setting the other one.

    Raises: ConfigError: it would last longer than BREAK_GLASS_HOURS_MAX.
    """

    def __init__(
        self,
        env: Env,
        administrators: Administrators | None,
        rights: LocalRights,
        until_ms: int = 0,
    ) -> None:
        left_s = (until_ms - env.now_ms()) / 1000
        if left_s > BREAK_GLASS_HOURS_MAX * 3600:
            raise _unfit(f"more than {BREAK_GLASS_HOURS_MAX} hours from this start on")
        self._env = env
        self._administrators = administrators
        self.rights = rights
        self._until_ms = until_ms
        self._open_until_s = env.monotonic_s() + left_s if left_s > 0 else 0.0

    def may_all(self, listening: str) -> bool:
        """Whether he does everything at this moment; not if accounts cannot be read.

        Args:
            listening: where administrators with a name come in, "" for nowhere.
        """
        if self.rights is LocalRights.ALL or self._administrators is None or self._is_broken():
            return True
        if self.rights is LocalRights.READ_ONLY:
            return False
        return not listening or not self._has_accounts()

    def means(self, listening: str) -> str:
        """What he may, in a sentence."""
        if self.may_all(listening):
            if self.rights is LocalRights.ALL:
                return "may do everything (admin.local)"
            if self._is_broken():
                return "may do everything for a while (admin.break_glass_until)"
            return "may do everything: no administrator with a name could"
        if self.rights is LocalRights.READ_ONLY:
            return "may only look (admin.local)"
        return "may look, and make and change administrators: the rest is theirs"

    def warnings(self, listening: str) -> list[str]:
        """What an operator should know of it."""
        if not self._is_past_bootstrap(listening):
            return []
        return [f"the socket does everything although there are administrators: {self._why()}"]

    def tell(self, listening: str, journal: Journal | None) -> None:
        """Have the journal know, at a start, that he may do what administrators do."""
        if journal is None or not self._is_past_bootstrap(listening):
            return
        body: dict[str, Value] = {"why": self._why(), "until_ms": self._until_ms}
        journal.note(CLUSTER, Event(self._env.now_ms(), OPENED, Phase.NOTE, body))

    def _is_past_bootstrap(self, listening: str) -> bool:
        """Whether he does everything beside administrators who have accounts for that."""
        has_door = bool(listening) or self._is_broken() or self.rights is LocalRights.ALL
        return has_door and self.may_all(listening) and self._has_accounts()

    def _is_broken(self) -> bool:
        return self._env.monotonic_s() < self._open_until_s

    def _why(self) -> str:
        return "admin.local = all" if self.rights is LocalRights.ALL else "admin.break_glass_until"

    def _has_accounts(self) -> bool:
        """Whether there is, or was, an administrator with a name; if nobody knows, there is."""
        try:
            return self._administrators is not None and bool(self._administrators.all())
        except RowCorrupt:
            return True


def _unfit(reason: str) -> ConfigError:
    return ConfigError(key="admin.break_glass_until", reason=reason)
