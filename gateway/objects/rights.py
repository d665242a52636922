"""What users and roles may do by the policies of their own account, made ready once per change of a
policy.

Not for deciding (`objects.access`), nor for secrets (`objects.credentials`, which asks here at most
once in some seconds for each signing key).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from functools import lru_cache

from gateway.meta.identities import GROUPS, POLICIES, ROLES, USERS, NamedPolicy, Role, Stored, User
from gateway.meta.kv import MetaStore, RowCorrupt
from gateway.meta.sealing import RecordKeys
from gateway.model.errors import MalformedPolicy
from gateway.model.names import TenantId
from gateway.model.policy import Policy
from gateway.model.policy_identity import (
    Rights,
    merged,
    parse_identity_policy,
    parse_session_policy,
)

TEXT_CHARACTERS_MAX = 1 << 20  # of policies made ready, which are some 25 times as large
MERGED_MAX = 1024
SESSION_POLICIES_MAX = 256

_Key = tuple[bytes, bytes]  # row key and revision


class RightsSource:
    """Rights of users and roles."""

    def __init__(self, store: MetaStore, records: RecordKeys) -> None:
        self._store = store
        self._records = records
        self._parsed: OrderedDict[_Key, tuple[Policy, int]] = OrderedDict()
        self._characters = 0
        self._merged: OrderedDict[tuple[_Key, ...], Policy] = OrderedDict()

    def of_user(self, tenant: TenantId, name: str) -> tuple[User, Rights] | None:
        """A user and its rights; None when there is none, or it is disabled. Raises: RowCorrupt."""
        stored = USERS.read(self._store, self._records, tenant, name)
        if stored is None or not stored.held.enabled:
            return None
        user = stored.held
        named = set(user.policies)
        for group in user.groups:
            found = GROUPS.read(self._store, self._records, tenant, group)
            if found is not None:
                named.update(found.held.policies)
        return user, Rights(self._identity(tenant, named))

    def of_role(self, tenant: TenantId, name: str) -> tuple[Role, Rights] | None:
        """A role and its rights; None when there is none. Raises: RowCorrupt."""
        stored = ROLES.read(self._store, self._records, tenant, name)
        if stored is None:
            return None
        return stored.held, Rights(self._identity(tenant, set(stored.held.policies)))

    def _identity(self, tenant: TenantId, names: Iterable[str]) -> Policy:
        rows = [(POLICIES.row(tenant, name), name) for name in sorted(names)]
        values = self._store.read([row_key for row_key, _ in rows]) if rows else []
        held: list[tuple[_Key, Stored[NamedPolicy]]] = []
        for (row_key, _), value in zip(rows, values, strict=True):
            if value is not None:
                stored = POLICIES.open(self._records, tenant, row_key, value)
                held.append(((row_key, stored.revision), stored))
        key = tuple(one for one, _ in held)
        known = self._merged.get(key)
        if known is None:
            known = merged(self._policy(one, stored.held) for one, stored in held)
            self._merged[key] = known
            if len(self._merged) > MERGED_MAX:
                self._merged.popitem(last=False)
        self._merged.move_to_end(key)
        return known

    def _policy(self, key: _Key, policy: NamedPolicy) -> Policy:
        known = self._parsed.get(key)
        if known is not None:
            return known[0]
        try:
            parsed = parse_identity_policy(policy.text)
        except MalformedPolicy as error:
            # Nobody is allowed anything by rules that cannot be read: they may be denials.
            raise RowCorrupt(row_key=key[0].hex(), part="policy") from error
        self._parsed[key] = parsed, len(policy.text)
        self._characters += len(policy.text)
        while self._characters > TEXT_CHARACTERS_MAX and len(self._parsed) > 1:
            self._characters -= self._parsed.popitem(last=False)[1][1]
        return parsed

    def __repr__(self) -> str:
        return f"RightsSource({len(self._parsed)} policies held)"


@lru_cache(maxsize=SESSION_POLICIES_MAX)
def session_policy(text: str) -> Policy:
    """What narrows a session. Raises: MalformedPolicy."""
    return parse_session_policy(text)
