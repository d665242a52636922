"""How many secrets gateways may have opened and resealed in a time: by tenant, and by gateway.

A gateway that was taken over asks for key after key. A budget is a bucket of tokens: as many as may
be used in an hour, which come back evenly within the hour. So at once no more than that many are
given, and in any hour no more than twice as many. What one answer needs beyond what is left is
owed: the next one waits until it has come back.

What is counted is in memory and begins anew with the process. Who has not been seen for a while is
forgotten, but only when he would have no more by that: so nobody is pushed out to have a whole
budget again. Of tenants only what was done for counts: known are no more than have keys.

Not for counts that stay (`gateway.keyd.releases`). Requirement: B-08. Source: docs/key-service.md,
"Budgets".
"""

from __future__ import annotations

import math
import threading
from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import NamedTuple

from gateway.config_keys import KeydBudgetsConfig
from gateway.data.envelope import KeyBudgetSpent
from gateway.keyd.wire import Verb
from storaged.base.log import Log

HOUR_S = 3600.0
# Of each budget: beyond so many, those are forgotten whose hour is over and whose budget is whole.
# Some 300 bytes each; a keyring has 100,000 keys at most, gateways are those of the configuration.
HOLDERS_MAX = 16_384
WARNED_SHARE = 0.8  # of a tenant's maximum, where that is less than the configured warning

OPENS = frozenset({Verb.OPEN_UNDER_BUCKET, Verb.UNWRAP_NAMED})
RESEALS = frozenset({Verb.RESEAL_UNDER_BUCKET})
_LOG = Log("gateway.keyd")


class Asker(NamedTuple):
    """For whom a gateway asks."""

    gateway: str
    tenant: bytes


@dataclass(slots=True)
class _Use:
    """What one tenant or gateway has used."""

    left: float  # tokens; below 0: owed
    filled_s: float
    hour_s: float  # when the hour began that `count` is of
    count: int = 0
    is_warned: bool = False
    is_refused: bool = False


class ToldBudget(NamedTuple):
    """A budget in metrics.

    Attributes:
        most_used: in the present hour, by the one that has used most.
        warned: how many are above the warning in their present hour.
    """

    budget: str
    of: str
    per_hour_max: int
    most_used: int
    warned: int


class Budget:
    """One kind of use, by one kind of holder. Not for several threads at once.

    Args:
        of: "tenant" or "gateway".
        per_hour_max: 0: no limit.
        warned_above: in an hour; 0: never.
    """

    def __init__(self, name: str, of: str, per_hour_max: int, warned_above: int = 0) -> None:
        self.name, self.of = name, of
        self.per_hour_max = per_hour_max
        self.warned_above = warned_above or math.inf
        self._uses: OrderedDict[str | bytes, _Use] = OrderedDict()

    def __repr__(self) -> str:
        return f"Budget({self.name} of a {self.of}, {self.per_hour_max})"

    @property
    def known_count(self) -> int:
        """Of how many the use is known."""
        return len(self._uses)

    def check(self, who: str | bytes, now_s: float) -> None:
        """Raises: KeyBudgetSpent: nothing is left."""
        if not self.per_hour_max:
            return
        use = self._uses.get(who)
        if use is None:
            return
        self._fill(use, now_s)
        if use.left >= 1.0:
            return
        again_s = math.ceil((1.0 - use.left) * HOUR_S / self.per_hour_max)
        told = {**self._told(who), "per_hour_max": self.per_hour_max}
        if not use.is_refused:
            use.is_refused = True
            _LOG.warning("budget is spent", **told, again_s=again_s)
        raise KeyBudgetSpent(**told, again_s=again_s)

    def charge(self, who: str | bytes, count: int, now_s: float) -> None:
        """So many were done."""
        use = self._uses.get(who)
        if use is None:
            use = self._uses[who] = _Use(float(self.per_hour_max), now_s, now_s)
            self._forget(now_s)
        else:
            self._uses.move_to_end(who)
        if self.per_hour_max or now_s - use.hour_s >= HOUR_S:
            self._fill(use, now_s)
            use.left -= count
        use.count += count
        if use.count > self.warned_above and not use.is_warned:
            use.is_warned = True
            told = {**self._told(who), "count": use.count}
            _LOG.warning("much of a budget is used", **told, warned_above=self.warned_above)

    def _forget(self, now_s: float) -> None:
        """Let go of those not seen for the longest who would be no better off by it."""
        while len(self._uses) > HOLDERS_MAX:
            who, use = next(iter(self._uses.items()))
            if now_s - use.hour_s < HOUR_S:
                return
            self._fill(use, now_s)
            if self.per_hour_max and use.left < self.per_hour_max:
                return
            del self._uses[who]

    def _told(self, who: str | bytes) -> dict[str, str]:
        return {
            "budget": self.name,
            "of": self.of,
            "who": who.hex() if isinstance(who, bytes) else who,
        }

    def told(self, now_s: float) -> ToldBudget:
        """What metrics say."""
        present = [use for use in self._uses.values() if now_s - use.hour_s < HOUR_S]
        return ToldBudget(
            budget=self.name,
            of=self.of,
            per_hour_max=self.per_hour_max,
            most_used=max((use.count for use in present), default=0),
            warned=sum(use.is_warned for use in present),
        )

    def _fill(self, use: _Use, now_s: float) -> None:
        whole = float(self.per_hour_max)
        use.left = min(whole, use.left + (now_s - use.filled_s) * whole / HOUR_S)
        use.filled_s = now_s
        if now_s - use.hour_s >= HOUR_S:
            use.hour_s, use.count = now_s, 0
            use.is_warned = use.is_refused = False


class KeyBudgets:
    """All budgets of a key service. Any thread may ask."""

    def __init__(self, config: KeydBudgetsConfig) -> None:
        known = [config.opens_per_hour_warn, int(config.opens_per_hour_max * WARNED_SHARE)]
        warned = min((one for one in known if one > 0), default=0)
        opens = (
            Budget("opens", "tenant", config.opens_per_hour_max, warned),
            Budget("opens", "gateway", config.gateway_opens_per_hour_max),
        )
        reseals = (
            Budget("reseals", "tenant", config.reseals_per_hour_max),
            Budget("reseals", "gateway", config.gateway_reseals_per_hour_max),
        )
        self._all = opens + reseals
        self.refused: Counter[tuple[str, str]] = Counter()
        # By number: the hash of a verb costs more than the budget.
        self._of: list[tuple[Budget, Budget] | None] = [None] * 256
        for verb in OPENS:
            self._of[verb] = opens
        for verb in RESEALS:
            self._of[verb] = reseals
        self._lock = threading.Lock()

    def told(self, now_s: float) -> list[ToldBudget]:
        """What metrics say."""
        with self._lock:
            return [one.told(now_s) for one in self._all]

    def check(self, verb: Verb, asker: Asker, now_s: float) -> None:
        """Raises: KeyBudgetSpent."""
        held = self._of[verb]
        if held is None:
            return
        of_tenant, of_gateway = held
        if not of_tenant.per_hour_max and not of_gateway.per_hour_max:
            return
        with self._lock:
            try:
                of_gateway.check(asker.gateway, now_s)
                of_tenant.check(asker.tenant, now_s)
            except KeyBudgetSpent as error:
                self.refused[str(error.fields["budget"]), str(error.fields["of"])] += 1
                raise

    def charge(self, verb: Verb, asker: Asker, count: int, now_s: float) -> None:
        """So many were opened, or resealed."""
        held = self._of[verb]
        if held is None:
            return
        of_tenant, of_gateway = held
        with self._lock:
            of_gateway.charge(asker.gateway, count, now_s)
            of_tenant.charge(asker.tenant, count, now_s)
