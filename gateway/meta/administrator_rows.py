"""Rows of administrators: typed reads and writes.

Not for what roles may do. The rows are a family of their own, apart from those of tenants and
users, so that nothing that looks for one finds the other (A-01).

Source: docs/data-layout.md, "Accounts".
"""

from __future__ import annotations

import base64
from typing import Any, NamedTuple

from gateway.meta import keyspace
from gateway.meta.kv import MetaStore, RowCorrupt, Write, revision_of
from gateway.meta.records import open_document, seal_document
from gateway.meta.sealing import NonceSource, RecordKeys
from gateway.model.administrators import ADMINISTRATORS_MAX, Administrator, Role
from gateway.model.second_factor import SecondFactor
from gateway.model.second_factor_errors import SecondFactorInvalid


class StoredAdministrator(NamedTuple):
    """What a row says, and its revision."""

    held: Administrator
    revision: bytes


def administrator_row(name: str) -> bytes:
    """Row key of an account."""
    return keyspace.ADMINISTRATOR + keyspace.CLUSTER_PARTITION + name.encode()


def read_administrator(store: MetaStore, keys: RecordKeys, name: str) -> StoredAdministrator | None:
    """The account of a name. Raises: RowCorrupt."""
    row_key = administrator_row(name)
    value = store.read((row_key,))[0]
    return None if value is None else _opened(keys, row_key, value)


def scan_administrators(store: MetaStore, keys: RecordKeys) -> list[Administrator]:
    """All accounts, by name. Raises: RowCorrupt."""
    start, end = keyspace.family_range(keyspace.ADMINISTRATOR, keyspace.CLUSTER_PARTITION)
    rows = store.scan(start, end, limit=ADMINISTRATORS_MAX)
    return [_opened(keys, row.key, row.value).held for row in rows]


def set_administrator(keys: RecordKeys, nonces: NonceSource, held: Administrator) -> Write:
    """Write that makes or changes an account."""
    row_key = administrator_row(held.name)
    document: dict[str, Any] = {
        "person": held.person,
        "roles": sorted(held.roles),
        "created_at_ms": held.created_at_ms,
        "changed_at_ms": held.changed_at_ms,
        "enabled": held.enabled,
        "certificates_from_ms": held.certificates_from_ms,
    }
    if held.second_factor is not None:
        document["second_factor"] = {
            "secret": base64.b64encode(held.second_factor.secret).decode(),
            "enrolled_at_ms": held.second_factor.enrolled_at_ms,
        }
    return Write(row_key, seal_document(keys, nonces, row_key, document))


def _opened(keys: RecordKeys, row_key: bytes, value: bytes) -> StoredAdministrator:
    found = open_document(keys, row_key, value)
    try:
        held = Administrator(
            name=row_key[keyspace.HEAD_BYTES :].decode(),
            person=found["person"],
            roles=frozenset(Role(role) for role in found["roles"]),
            created_at_ms=found["created_at_ms"],
            changed_at_ms=found["changed_at_ms"],
            enabled=found["enabled"],
            certificates_from_ms=found["certificates_from_ms"],
            second_factor=_second_factor(found.get("second_factor")),
        )
    except (KeyError, TypeError, ValueError, SecondFactorInvalid) as error:
        raise RowCorrupt(row_key=row_key.hex(), part="structure") from error
    return StoredAdministrator(held, revision_of(value))


def _second_factor(found: Any) -> SecondFactor | None:
    """None only where there is none: what is damaged never counts for that."""
    if found is None:
        return None
    secret = base64.b64decode(found["secret"], validate=True)
    return SecondFactor(secret=secret, enrolled_at_ms=int(found["enrolled_at_ms"]))
