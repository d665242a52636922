"""Erasures as rows of the cluster: how far each is, and its certificate once it has ended.

Not for doing anything: the job `erasure` does. Once one has ended its row is what is left of it:
ids, counts, dates, and no name.

Source: docs/data-layout.md, "Documents".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from gateway.meta import keyspace
from gateway.meta.documents import open_document, seal_document
from gateway.meta.kv import MetaStore, RowCorrupt, Write, revision_of
from gateway.meta.sealing import NonceSource, RecordKeys
from gateway.model.erasure import ENDED, ErasureKind, ErasureStep

_START = keyspace.cluster_row("erasure/")
_ENDED = keyspace.cluster_row("erased/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """One erasure.

    Args:
        tenant, bucket: hexadecimal ids; bucket "" = all of the tenant.
        name: of what is erased; "" once it has ended.
        key, version: of an object; version "" = all of them. "" once it has ended.
        requester: who asked.
        execute_at_ms: when the notice ends.
        step_since_ms: when the step began.
        detail: what the step waits for.
        request: id of the request for approval; "" = none.
        approvals: warrants that it goes by, the last one in force, each with the set of approvers
            of its moment.
        items: keys that are to be destroyed, as approvals name them.
        destroyed: those that were, with the time in milliseconds.
        limits: by kind of key, the first epoch that what is erased was never under.
        events: of the tenant's journal: seq, type, phase and item.
        was_off: what was disabled already when it began, keys as approvals name them, and the
            tenant as "tenant": taking the erasure back leaves that as it was.
        departure: dates of the end of the tenant's contract, if there was one.
        objects, size_bytes: versions that are lost, and their bytes.
        purged: rows by what they were.
        log_sequence: of the last group of the log that may hold a copy of a destroyed key.
        log_groups_left: such groups that are still on nodes, when it was certified.
        certificate: signed, as JSON.
    """

    erasure_id: str
    kind: str
    tenant: str
    bucket: str
    name: str
    requester: str
    requested_at_ms: int
    execute_at_ms: int
    step: str
    step_since_ms: int
    key: str = ""
    version: str = ""
    detail: str = ""
    request: str = ""
    approvals: tuple[Mapping[str, str], ...] = ()
    items: tuple[str, ...] = ()
    destroyed: Mapping[str, int] = field(default_factory=dict)
    limits: Mapping[str, int] = field(default_factory=dict)
    events: tuple[Mapping[str, Any], ...] = ()
    was_off: tuple[str, ...] = ()
    departure: Mapping[str, int] = field(default_factory=dict)
    objects: int = 0
    size_bytes: int = 0
    purged: Mapping[str, int] = field(default_factory=dict)
    log_sequence: int = 0
    log_groups_left: int = 0
    certificate: str = ""

    @property
    def warrant(self) -> bytes:
        return self.approvals[-1]["warrant"].encode() if self.approvals else b""

    @property
    def of(self) -> ErasureKind:
        return ErasureKind(self.kind)

    @property
    def at(self) -> ErasureStep:
        return ErasureStep(self.step)


class StoredErasure(NamedTuple):
    """An erasure and the revision of its row."""

    erasure: Erasure
    revision: bytes


def erasure_row(erasure_id: str) -> bytes:
    """Row of an erasure under way."""
    return keyspace.cluster_row(f"erasure/{erasure_id}")


def erased_row(erasure_id: str) -> bytes:
    """Row of an erasure that has ended."""
    return keyspace.cluster_row(f"erased/{erasure_id}")


def read_erasure(store: MetaStore, keys: RecordKeys, erasure_id: str) -> StoredErasure | None:
    """An erasure by id, under way or ended. Raises: RowCorrupt."""
    row_keys = erasure_row(erasure_id), erased_row(erasure_id)
    for row_key, value in zip(row_keys, store.read(row_keys), strict=True):
        if value is not None:
            return _open(keys, row_key, value)
    return None


def scan_erasures(store: MetaStore, keys: RecordKeys, *, limit: int) -> list[StoredErasure]:
    """Erasures under way. Raises: RowCorrupt."""
    rows = store.scan(_START, keyspace.successor(_START), limit=limit)
    return [_open(keys, row.key, row.value) for row in rows]


def scan_ended(store: MetaStore, keys: RecordKeys, *, limit: int) -> list[StoredErasure]:
    """Erasures that have ended. Raises: RowCorrupt."""
    rows = store.scan(_ENDED, keyspace.successor(_ENDED), limit=limit)
    return [_open(keys, row.key, row.value) for row in rows]


def set_erasure(keys: RecordKeys, nonces: NonceSource, erasure: Erasure) -> tuple[Write, ...]:
    """Writes that set the row of an erasure; once it has ended, in another place, so that who looks
    for what is to be done does not come across it.
    """
    under_way, ended = erasure_row(erasure.erasure_id), erased_row(erasure.erasure_id)
    document = asdict(erasure)
    if erasure.at in ENDED:
        return Write(under_way, None), Write(ended, seal_document(keys, nonces, ended, document))
    return (Write(under_way, seal_document(keys, nonces, under_way, document)),)


def _open(keys: RecordKeys, row_key: bytes, value: bytes) -> StoredErasure:
    held = open_document(keys, row_key, value)
    try:
        held["items"] = tuple(held["items"])
        held["events"] = tuple(held["events"])
        held["approvals"] = tuple(held["approvals"])
        held["was_off"] = tuple(held["was_off"])
        erasure = Erasure(**held)
        ErasureKind(erasure.kind)
        ErasureStep(erasure.step)
    except (KeyError, TypeError, ValueError) as error:
        raise RowCorrupt(row_key=row_key[:64].hex(), part="structure") from error
    return StoredErasure(erasure, revision_of(value))
