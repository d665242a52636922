"""What every store does with a batch before it touches a row: bounds and checks.

Not for building batches: each record family's module does that.
"""

from __future__ import annotations

from collections.abc import Callable

from gateway.meta.keyspace import CLUSTER_PARTITION, HEAD_BYTES
from gateway.meta.kv import (
    PARTITION_BYTES,
    REVISION_BYTES,
    ROW_KEY_BYTES_MAX,
    ROW_VALUE_BYTES_MAX,
    Batch,
    Check,
)

ROW_VALUE_BYTES_MIN = 1 + REVISION_BYTES
REQUEST_IDS_MAX = 65_536  # committed request ids a store remembers: minutes of full load
REQUEST_ID_BYTES = 16
SCAN_ROWS_MAX = 10_000


def validate(batch: Batch) -> None:
    """Bounds of the port. A batch beyond them is our own mistake, so nobody catches this.

    Raises: ValueError.
    """
    partition = batch.partition
    if len(partition) != PARTITION_BYTES or len(batch.request_id) != REQUEST_ID_BYTES:
        raise ValueError("partition and request id are 16 bytes each")
    for write in batch.writes:
        key, value = write.key, write.value
        if key[1:HEAD_BYTES] != partition or len(key) > ROW_KEY_BYTES_MAX:
            validate_key(key, partition)
        if value is not None and not ROW_VALUE_BYTES_MIN <= len(value) <= ROW_VALUE_BYTES_MAX:
            raise ValueError(f"row value of {len(value)} bytes")


def validate_key(key: bytes, partition: bytes) -> None:
    """A row key that a batch of the partition may write. Raises: ValueError."""
    if not 1 <= len(key) <= ROW_KEY_BYTES_MAX:
        raise ValueError(f"row key of {len(key)} bytes")
    if key[1:HEAD_BYTES] not in (partition, CLUSTER_PARTITION):
        raise ValueError(f"row of another partition than the batch: {key[:HEAD_BYTES].hex()}")


def failed_check(batch: Batch, get: Callable[[bytes], bytes | None]) -> int | None:
    """Index of the first check that does not hold over the rows `get` returns, or None."""
    for index, check in enumerate(batch.checks):
        value = get(check.key)
        if isinstance(check, Check):
            if check.revision is None:
                if value is not None:
                    return index
            elif value is None or value[1 : 1 + REVISION_BYTES] != check.revision:
                return index
        elif value is None:
            return index
    return None
