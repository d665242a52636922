"""Version rows that were opened a while ago, for reads that find the very same row again.

Not a cache of what is current: the row itself is read from the index every time, and what was
opened is used only while that row is byte for byte the one that was opened. So nothing here can be
stale, and whatever a key depends on (wrapped DEK, salt, commitment, epoch) is part of what is
compared.

Where the row is another one, it is opened. If it is of the same version (a rotation has wrapped the
DEK anew, tags were set), what makes its body's keys is kept: a version has one DEK for its life,
and each read compares the keys with the commitment in the row. Otherwise a rotation would have the
key service asked once more for every version that is in use.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from gateway.data.cipher import KeyMaterial
from gateway.meta.records import StoredVersion, open_version
from gateway.meta.sealing import RecordKeys
from gateway.model.bucket import Versioning
from gateway.model.names import ObjectKey
from gateway.objects.bucket_keys import BucketKeys
from gateway.objects.values import ObjectHead
from gateway.objects.views import head_of
from storaged.base.errors import StorageError

if TYPE_CHECKING:
    from gateway.objects.target import Target

# Some 3 KiB each for a row without metadata: under 100 MiB. Larger rows are opened each time.
ROWS_MAX = 32_768
ROW_BYTES_MAX = 2048


class OpenedVersion:
    """An open version row and what clients are told of it.

    Attributes:
        row: the row as the index had it.
        material: what makes the keys of its only part; None until a read has derived it.
    """

    __slots__ = ("head", "is_versioned", "material", "row", "stored")

    def __init__(
        self, key: ObjectKey, row: bytes, stored: StoredVersion, is_versioned: bool
    ) -> None:
        self.row = row
        self.stored = stored
        self.is_versioned = is_versioned
        self.head: ObjectHead = head_of(key, stored.version, is_versioned=is_versioned)
        self.material: KeyMaterial | None = None

    def __repr__(self) -> str:
        return "OpenedVersion(…)"


def _has_same_body(before: StoredVersion, after: StoredVersion) -> bool:
    """Whether the body's keys are the same, and as many others are wanted to open them."""
    one, other = before.version, after.version
    return (
        one.object_uuid == other.object_uuid
        and one.owner == other.owner
        and one.seal == other.seal
        and one.attributes.encryption == other.attributes.encryption
    )


class OpenedRows:
    """Opened version rows by row key, at most ROWS_MAX; the least recently used goes first."""

    def __init__(self, records: RecordKeys, bucket_keys: BucketKeys) -> None:
        self._records = records
        self._bucket_keys = bucket_keys
        self._held: OrderedDict[bytes, OpenedVersion] = OrderedDict()

    def open(self, target: Target, row: bytes) -> OpenedVersion:
        """The version in a row that was just read.

        Raises: RowCorrupt, and what the bucket's key raises: what was opened under a key that has
            been disabled is dropped as soon as the key itself is.
        """
        held = self._held.get(target.row_key)
        is_versioned = target.opened.bucket.versioning is not Versioning.OFF
        if held is not None and held.row == row and held.is_versioned is is_versioned:
            try:
                self._bucket_keys.sealer(target.bucket_id, held.stored.version.key_epoch)
            except StorageError:
                del self._held[target.row_key]
                raise
            self._held.move_to_end(target.row_key)
            return held
        stored = open_version(self._records, target.row_key, row)
        opened = OpenedVersion(target.key, row, stored, is_versioned)
        if held is not None and _has_same_body(held.stored, stored):
            opened.material = held.material
        if len(row) <= ROW_BYTES_MAX:
            self._held[target.row_key] = opened
            if held is None and len(self._held) > ROWS_MAX:
                self._held.popitem(last=False)
        return opened

    def forget_all(self) -> None:
        """Drop all: a named key that some of it is under was disabled."""
        self._held.clear()

    def __len__(self) -> int:
        return len(self._held)

    def __repr__(self) -> str:
        return f"OpenedRows({len(self._held)} held)"
