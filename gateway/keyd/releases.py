"""What the key service has given to whom: a count by tenant, gateway and verb, for metrics and log.

It is the key service's own: a gateway can neither see to it that a release is not counted, nor take
a count away. Each is counted before its answer is sent; every half minute the log has a line for
each tenant and gateway that were given something since. Metrics name the latest of them only; there
are no more in the log than tenants with keys, by each gateway.

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
        Verb.NAMED_EPOCHS,
        Verb.IS_WHOLE,
        Verb.APPROVERS,
    }
)
OTHERS = "others"  # tenants that are not named one by one any more
# By number: the hash of a verb costs more than all else here.
_IS_TELLING = [number in {int(verb) for verb in TELLING} for number in range(256)]
_LOG = Log("gateway.keyd")


class Releases:
    """Counts since the start. Any thread may ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._given: OrderedDict[Asker, Counter[str]] = OrderedDict()
        self._others: dict[str, Counter[str]] = {}  # by gateway
        self._untold: dict[Asker, Counter[str]] = {}  # what the log has not yet

    def add(self, verb: Verb, name: str, asker: Asker, count: int) -> None:
        """A verb is about to give something, or has done so many at once."""
        if _IS_TELLING[verb]:
            return
        with self._lock:
            given = self._given.get(asker)
            if given is None:
                given = self._given[asker] = Counter()
                if len(self._given) > ASKERS_MAX:
                    oldest, counts = self._given.popitem(last=False)
                    self._others.setdefault(oldest.gateway, Counter()).update(counts)
            else:
                self._given.move_to_end(asker)
            given[name] += count
            untold = self._untold.get(asker)
            if untold is None:
                untold = self._untold[asker] = Counter()
            untold[name] += count

    def tell(self) -> None:
        """Write to the log what was given since the last time. Many lines take long."""
        with self._lock:
            untold, self._untold = self._untold, {}
        for asker, counts in untold.items():
            _LOG.info("released", tenant=asker.tenant.hex(), gateway=asker.gateway, **counts)

    def counted(self) -> Iterator[tuple[str, str, str, int]]:
        """Tenant, gateway, verb, count."""
        with self._lock:
            found = [
                (asker.tenant.hex(), asker.gateway, dict(counts))
                for asker, counts in self._given.items()
            ]
            found += [(OTHERS, gateway, dict(counts)) for gateway, counts in self._others.items()]
        for tenant, gateway, counts in found:
            for verb, count in counts.items():
                yield tenant, gateway, verb, count
