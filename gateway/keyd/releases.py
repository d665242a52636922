"""What the key service has given to whom: a count by tenant, gateway and verb, for metrics and log.

It is the key service's own: a gateway can neither see to it that a release is not counted, nor take
a count away. Each is counted before its answer is sent; every half minute the log has a line for
each tenant and gateway that were given something since. What is forgotten because there are too
many is written to the log first.

Not for how much may be given (`gateway.keyd.budgets`). Requirement: B-08.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from collections.abc import Iterator

from gateway.keyd.budgets import Asker
from gateway.keyd.wire import Verb
from storaged.base.log import Log

ASKERS_MAX = 4096  # tenants with gateways that metrics name one by one; some 1 KiB each
# They give no key, no secret and nothing sealed: what there is, and in which state.
TELLING = frozenset(
    {
        Verb.HELLO,
        Verb.STATUS,
        Verb.TENANT_EPOCHS,
        Verb.ACTIVE_EPOCH,
        Verb.HAS_NAMED_KEY,
        Verb.NAMED_KEYS,
        Verb.IS_WHOLE,
        Verb.APPROVERS,
    }
)
OTHERS = "others"  # tenants that are not named one by one any more
# By number: the hash of a verb costs more than all else here.
_IS_TELLING = [number in {int(verb) for verb in TELLING} for number in range(256)]
_LOG = Log("gateway.keyd")


class _Given:
    """What one tenant was given by way of one gateway."""

    __slots__ = ("asker", "counts", "is_told", "told")

    def __init__(self, asker: Asker) -> None:
        self.asker = asker
        self.counts: Counter[str] = Counter()
        self.told: Counter[str] = Counter()  # what the log has already
        self.is_told = True

    def tell(self) -> None:
        """Write to the log what it has not."""
        new = self.counts - self.told
        tenant, gateway = self.asker.tenant.hex(), self.asker.gateway
        _LOG.info("released", tenant=tenant, gateway=gateway, **new)
        self.told, self.is_told = self.counts.copy(), True


class Releases:
    """Counts since the start. Any thread may ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._given: OrderedDict[Asker, _Given] = OrderedDict()
        self._untold: list[_Given] = []
        self._others: dict[str, Counter[str]] = {}  # by gateway

    def add(self, verb: Verb, name: str, asker: Asker, count: int) -> None:
        """A verb is about to give something, or has done so many at once."""
        if _IS_TELLING[verb]:
            return
        with self._lock:
            given = self._given.get(asker)
            if given is None:
                given = self._given[asker] = _Given(asker)
                if len(self._given) > ASKERS_MAX:
                    self._forget_oldest()
            else:
                self._given.move_to_end(asker)
            given.counts[name] += count
            if given.is_told:
                given.is_told = False
                self._untold.append(given)

    def _forget_oldest(self) -> None:
        asker, given = self._given.popitem(last=False)
        self._others.setdefault(asker.gateway, Counter()).update(given.counts)
        if not given.is_told:
            self._untold.remove(given)
            given.tell()

    def tell(self) -> None:
        """Write to the log what was given since the last time."""
        with self._lock:
            untold, self._untold = self._untold, []
            for given in untold:
                given.tell()

    def counted(self) -> Iterator[tuple[str, str, str, int]]:
        """Tenant, gateway, verb, count."""
        with self._lock:
            found = [
                (asker.tenant.hex(), asker.gateway, dict(given.counts))
                for asker, given in self._given.items()
            ]
            found += [(OTHERS, gateway, dict(counts)) for gateway, counts in self._others.items()]
        for tenant, gateway, counts in found:
            for verb, count in counts.items():
                yield tenant, gateway, verb, count
