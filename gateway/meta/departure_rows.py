"""Tenants that leave, as rows of the cluster: one per tenant.

Not for what a departure means: `gateway.model.departure`, `gateway.objects.departing`.

Source: docs/data-layout.md, "Documents".
"""

from __future__ import annotations

from dataclasses import asdict
from typing import NamedTuple

from gateway.meta import keyspace
from gateway.meta.documents import open_document, seal_document
from gateway.meta.kv import MetaStore, RowCorrupt, Write, revision_of
from gateway.meta.sealing import NonceSource, RecordKeys
from gateway.model.departure import Departure, DeparturePhase
from gateway.model.names import TenantId

_START = keyspace.cluster_row("departure/")


class StoredDeparture(NamedTuple):
    """A departure and the revision of its row."""

    departure: Departure
    revision: bytes


def departure_row(tenant: bytes) -> bytes:
    """Row of a tenant's departure."""
    return keyspace.cluster_row(f"departure/{tenant.hex()}")


def read_departure(store: MetaStore, keys: RecordKeys, tenant: TenantId) -> StoredDeparture | None:
    """A tenant's departure; None: he has never given notice. Raises: RowCorrupt."""
    row_key = departure_row(tenant)
    value = store.read((row_key,))[0]
    return None if value is None else _open(keys, row_key, value)


def scan_departures(store: MetaStore, keys: RecordKeys, *, limit: int) -> list[StoredDeparture]:
    """Departures, by tenant, those that have ended as well. Raises: RowCorrupt."""
    rows = store.scan(_START, keyspace.successor(_START), limit=limit)
    return [_open(keys, row.key, row.value) for row in rows]


def set_departure(keys: RecordKeys, nonces: NonceSource, departure: Departure) -> Write:
    """The write that sets a departure's row."""
    row_key = departure_row(bytes.fromhex(departure.tenant))
    return Write(row_key, seal_document(keys, nonces, row_key, asdict(departure)))


def _open(keys: RecordKeys, row_key: bytes, value: bytes) -> StoredDeparture:
    try:
        departure = Departure(**open_document(keys, row_key, value))
        DeparturePhase(departure.phase)
    except (TypeError, ValueError) as error:
        raise RowCorrupt(row_key=row_key[:64].hex(), part="structure") from error
    return StoredDeparture(departure, revision_of(value))
