"""What the journal is told of the key service: that it refuses because a budget is spent.

The key service has no journal. A gateway that hears the refusal records it, once for each budget,
holder and hour, however many requests are refused. One that was taken over may keep silent: the key
service's own log and metrics have it all the same.

Requirement: B-08. Source: docs/journal.md; docs/key-service.md, "Budgets".
"""

from __future__ import annotations

import asyncio
import threading
from collections import OrderedDict
from contextlib import suppress

from gateway.data.envelope import KeyBudgetSpent, KeyProvider
from gateway.journal.events import CLUSTER, Event, Phase, Value
from gateway.journal.journal import Journal
from gateway.keyd.budgets import HOUR_S
from gateway.keyd.keys import KeydKeys
from storaged.base.env import Env
from storaged.base.errors import StorageError
from storaged.base.log import Log

BUDGET_SPENT = "keys.budget-spent"  # type of the event
TOLD_MAX = 4096  # budgets with holders that are known to have been told of
_LOG = Log("gateway.keyd")


class SpentBudgets:
    """Tells of each refusal that is news. Any thread may have heard it.

    Args:
        loop: the journal's.
    """

    def __init__(self, journal: Journal | None, env: Env, loop: asyncio.AbstractEventLoop) -> None:
        self._journal = journal
        self._env = env
        self._loop = loop
        self._lock = threading.Lock()
        self._told_s: OrderedDict[tuple[str, ...], float] = OrderedDict()

    def heard(self, error: StorageError) -> None:
        """A call was refused."""
        if not isinstance(error, KeyBudgetSpent):
            return
        names = ("budget", "of", "who", "per_hour_max")
        body: dict[str, Value] = {name: str(error.fields.get(name, "")) for name in names}
        if not self._is_news((str(body["budget"]), str(body["of"]), str(body["who"]))):
            return
        _LOG.warning("the key service refuses: a budget is spent", **body)
        with suppress(RuntimeError):  # the loop has ended, and the journal with it
            self._loop.call_soon_threadsafe(self._note, body)

    def _is_news(self, which: tuple[str, ...]) -> bool:
        now_s = self._env.monotonic_s()
        with self._lock:
            told_s = self._told_s.get(which)
            if told_s is not None and now_s - told_s < HOUR_S:
                return False
            self._told_s[which] = now_s
            self._told_s.move_to_end(which)
            if len(self._told_s) > TOLD_MAX:
                self._told_s.popitem(last=False)
            return True

    def _note(self, body: dict[str, Value]) -> None:
        if self._journal is not None:
            event = Event(self._env.now_ms(), BUDGET_SPENT, Phase.NOTE, body)
            self._journal.note(CLUSTER, event)


def tell_of_budgets(provider: KeyProvider, journal: Journal | None, env: Env) -> None:
    """Have the journal and the log know of what a key service refuses from now on."""
    if isinstance(provider, KeydKeys):
        spent = SpentBudgets(journal, env, asyncio.get_running_loop())
        provider.client.on_refused = spent.heard
