"""Holds access keys and addresses to rates: token buckets in a bounded table.

Not for what is stored (`gateway.objects.quotas`). Requests take a token when they come; bytes are
taken when a request has ended, and while they are overdrawn the next one is refused. A refusal is
503 SlowDown with Retry-After, before the body is read.

Access keys and addresses have a table each, so that addresses, which cost nothing, push out no
key. A table forgets whoever was not seen for longest; he begins with full buckets again, so who
changes addresses faster than the table has places is not held by the limit of an address. IPv6
addresses without a limit of their own count by their /64, which is what one machine can get.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from functools import lru_cache
from ipaddress import IPv6Address, ip_address

from gateway.model.errors import SlowDown
from gateway.model.quota import EVERY, Quota, Subject
from storaged.base.env import Env

TABLE_MAX = 20_000  # of each kind; about 250 bytes each
NETWORKS_CACHED_MAX = 4096

_KINDS = (Subject.ACCESS_KEY, Subject.SOURCE)


class _Tokens:
    """What one access key or address may still do; refilled by the second, at most one second's."""

    __slots__ = ("at_s", "in_bytes", "out_bytes", "quota", "requests")

    def __init__(self, quota: Quota, now_s: float) -> None:
        self.quota = quota
        self.at_s = now_s
        self.requests = float(quota.requests_per_s or 0)
        self.in_bytes = float(quota.in_bytes_per_s or 0)
        self.out_bytes = float(quota.out_bytes_per_s or 0)

    def refill(self, now_s: float) -> None:
        passed_s = now_s - self.at_s
        self.at_s = now_s
        quota = self.quota
        if quota.requests_per_s is not None:
            rate = quota.requests_per_s
            self.requests = min(rate, self.requests + passed_s * rate)
        if quota.in_bytes_per_s is not None:
            rate = quota.in_bytes_per_s
            self.in_bytes = min(rate, self.in_bytes + passed_s * rate)
        if quota.out_bytes_per_s is not None:
            rate = quota.out_bytes_per_s
            self.out_bytes = min(rate, self.out_bytes + passed_s * rate)

    def take(self) -> bool:
        """One request; False: not now."""
        quota = self.quota
        if quota.in_bytes_per_s is not None and self.in_bytes < 0:
            return False
        if quota.out_bytes_per_s is not None and self.out_bytes < 0:
            return False
        if quota.requests_per_s is not None:
            if self.requests < 1:
                return False
            self.requests -= 1
        return True


class Throttle:
    """Limits of access keys and addresses. `is_set`: there are any."""

    def __init__(self, env: Env) -> None:
        self._env = env
        self.is_set = False
        self._quotas: dict[tuple[Subject, str], Quota] = {}
        self._held: dict[Subject, OrderedDict[str, _Tokens]] = {
            kind: OrderedDict() for kind in _KINDS
        }
        self.refused = 0

    def load(self, quotas: Mapping[tuple[Subject, str], Quota]) -> None:
        """Take all limits, in place of those before; everybody begins with full buckets."""
        self._quotas = {owner: quota for owner, quota in quotas.items() if owner[0] in _KINDS}
        for table in self._held.values():
            table.clear()
        self.is_set = bool(self._quotas)

    def admit(self, subject: Subject, name: str) -> None:
        """One request of an access key or address. Raises: SlowDown."""
        tokens = self._tokens(subject, name)
        if tokens is not None:
            tokens.refill(self._env.monotonic_s())
            if not tokens.take():
                self.refused += 1
                raise SlowDown()

    def charge(self, subject: Subject, name: str, in_bytes: int, out_bytes: int) -> None:
        """Bytes of a request that has ended."""
        tokens = self._tokens(subject, name)
        if tokens is not None:
            tokens.in_bytes -= in_bytes
            tokens.out_bytes -= out_bytes

    def _tokens(self, subject: Subject, name: str) -> _Tokens | None:
        quota = self._quotas.get((subject, name))
        if quota is None:
            quota = self._quotas.get((subject, EVERY))
            if quota is None:
                return None
            if subject is Subject.SOURCE and ":" in name:
                name = _network(name)
        table = self._held[subject]
        held = table.get(name)
        if held is not None:
            table.move_to_end(name)
            return held
        held = table[name] = _Tokens(quota, self._env.monotonic_s())
        if len(table) > TABLE_MAX:
            table.popitem(last=False)
        return held


@lru_cache(maxsize=NETWORKS_CACHED_MAX)
def _network(address: str) -> str:
    """The /64 of an IPv6 address; the address itself where it stands for one of IPv4."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if not isinstance(parsed, IPv6Address):
        return address
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return parsed.packed[:8].hex()
