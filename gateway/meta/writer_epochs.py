"""The highest writer epoch ever used: what keeps nonces and stripe ids from being used twice.

Not for log epochs: those live in the log's own headers.

Invariants: D4. Source: docs/data-layout.md, "Writer epochs".
"""

from __future__ import annotations

from typing import NamedTuple

from gateway.meta.keyspace import CLUSTER_PARTITION, WRITER_EPOCH_ROW
from gateway.meta.kv import Batch, Check, MetaStore, RowCorrupt, Write, revision_of
from gateway.meta.records import open_document, seal_document
from gateway.meta.sealing import NonceSource, RecordKeys


class HighestEpoch(NamedTuple):
    """Highest writer epoch used so far, 0 when none; `revision` None when there is no row."""

    epoch: int
    revision: bytes | None


def read_highest(store: MetaStore, keys: RecordKeys) -> HighestEpoch:
    """The highest writer epoch of the index. Raises: RowCorrupt."""
    value = store.read((WRITER_EPOCH_ROW,))[0]
    if value is None:
        return HighestEpoch(0, None)
    epoch = open_document(keys, WRITER_EPOCH_ROW, value).get("highest")
    if not isinstance(epoch, int):
        raise RowCorrupt(row_key=WRITER_EPOCH_ROW.hex(), part="structure")
    return HighestEpoch(epoch, revision_of(value))


def set_highest(keys: RecordKeys, nonces: NonceSource, epoch: int) -> Write:
    """Write that records an epoch as used."""
    return Write(
        WRITER_EPOCH_ROW, seal_document(keys, nonces, WRITER_EPOCH_ROW, {"highest": epoch})
    )


def claim_batch(keys: RecordKeys, held: HighestEpoch, request_id: bytes) -> tuple[int, Batch]:
    """The next epoch and the batch that claims it; the epoch is ours once the batch has committed.

    The row is sealed with the first nonce of the epoch it claims. Two who claim at once seal the
    same bytes, so nothing is given away, and one of them is refused.
    """
    epoch = held.epoch + 1
    batch = Batch(
        partition=CLUSTER_PARTITION,
        request_id=request_id,
        checks=(Check(WRITER_EPOCH_ROW, held.revision),),
        writes=(set_highest(keys, NonceSource(epoch), epoch),),
    )
    return epoch, batch
