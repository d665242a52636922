"""Cold records of the cluster (buckets, tenants, access keys, settings): canonical JSON in a sealed
row.

Not for what a document says: each record family's module knows its own.

Source: docs/data-layout.md, "Documents".
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from gateway.meta.kv import RowCorrupt
from gateway.meta.record_fields import canonical_json
from gateway.meta.sealing import NonceSource, RecordKeys, open_cluster, seal_row


def seal_document(
    keys: RecordKeys, nonces: NonceSource, row_key: bytes, document: Mapping[str, object]
) -> bytes:
    """Row value of a cold record of the cluster (bucket, tenant, access key, setting): canonical
    JSON.
    """
    return seal_row(keys, nonces, row_key, canonical_json(document), tenant=None, key_epoch=0)


def open_document(keys: RecordKeys, row_key: bytes, value: bytes) -> dict[str, Any]:
    """A cold record. Raises: RowCorrupt."""
    cluster = open_cluster(keys, row_key, value)
    try:
        document = json.loads(cluster)
    except ValueError as error:
        raise RowCorrupt(row_key=row_key[:64].hex(), part="structure") from error
    if not isinstance(document, dict):
        raise RowCorrupt(row_key=row_key[:64].hex(), part="structure")
    return document
