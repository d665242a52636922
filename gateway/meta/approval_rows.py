"""Requests for approval as rows of the cluster: the text that is signed, and who has signed it.

Not for deciding whether that is enough: who carries an act out verifies it himself
(`gateway.approvals.warrant`), so whoever could write these rows could still approve nothing.

Source: docs/data-layout.md, "Documents".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from gateway.approvals.request import Request, RequestInvalid, read_request
from gateway.approvals.warrant import (
    Approval,
    WarrantRefused,
    encode_approval,
    encode_warrant,
    read_approval,
)
from gateway.meta import keyspace
from gateway.meta.documents import open_document, seal_document
from gateway.meta.kv import MetaStore, RowCorrupt, Write, revision_of
from gateway.meta.sealing import NonceSource, RecordKeys

_START = keyspace.cluster_row("approval/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """A request and the approvals that have come in. `name`: what it is about, as it is called."""

    request: Request
    name: str
    approvals: tuple[Approval, ...] = ()

    @property
    def warrant(self) -> bytes:
        """Request and approvals as who verifies them takes them."""
        return encode_warrant(self.request.text, self.approvals)


class StoredPending(NamedTuple):
    """A pending request and the revision of its row."""

    pending: Pending
    revision: bytes


def approval_row(request_id: str) -> bytes:
    """Row of a request."""
    return keyspace.cluster_row(f"approval/{request_id}")


def read_pending(store: MetaStore, keys: RecordKeys, request_id: str) -> StoredPending | None:
    """A request by id. Raises: RowCorrupt."""
    row_key = approval_row(request_id)
    value = store.read((row_key,))[0]
    return None if value is None else _open(keys, row_key, value)


def scan_pending(store: MetaStore, keys: RecordKeys, *, limit: int) -> list[StoredPending]:
    """Requests, by id. Raises: RowCorrupt."""
    rows = store.scan(_START, keyspace.successor(_START), limit=limit)
    return [_open(keys, row.key, row.value) for row in rows]


def set_pending(keys: RecordKeys, nonces: NonceSource, pending: Pending) -> Write:
    """Write that sets the row of a request."""
    row_key = approval_row(pending.request.request_id)
    document = {
        "text": pending.request.text,
        "name": pending.name,
        "approvals": [encode_approval(one) for one in pending.approvals],
    }
    return Write(row_key, seal_document(keys, nonces, row_key, document))


def drop_pending(request_id: str) -> Write:
    """Write that drops a request."""
    return Write(approval_row(request_id), None)


def _open(keys: RecordKeys, row_key: bytes, value: bytes) -> StoredPending:
    held = open_document(keys, row_key, value)
    try:
        pending = Pending(
            request=read_request(held["text"]),
            name=held["name"],
            approvals=tuple(read_approval(one) for one in held["approvals"]),
        )
    except (KeyError, TypeError, RequestInvalid, WarrantRefused) as error:
        raise RowCorrupt(row_key=row_key[:64].hex(), part="structure") from error
    return StoredPending(pending, revision_of(value))
