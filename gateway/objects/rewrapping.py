"""Wrapped DEKs, and rows that hold them, under another epoch of their bucket's key. No byte moves.

Not for finding them (`gateway.jobs.rotation`). What a client's own key or a named key wraps below
the bucket's stays as it is: only the outer layer is opened; a named key's epochs are another matter
(`gateway.objects.named_rewrapping`).
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from typing import TypeVar

from gateway.data.bucket_sealing import Reseal
from gateway.data.envelope import DEK_LABEL, INNER_LABEL, SealInvalid
from gateway.meta import keyspace
from gateway.meta.kv import Row
from gateway.meta.records import open_version, seal_version
from gateway.meta.sealing import key_epoch_of, open_row, seal_row
from gateway.meta.uploads import open_upload, seal_upload
from gateway.meta.versions_wrapped import object_uuid_of, owner_and_wrapped, with_wrapped
from gateway.model.attributes import CUSTOMER, Attributes
from gateway.model.bucket import Bucket
from gateway.model.errors import KmsKeyDestroyed
from gateway.model.names import BucketId, ObjectKey, TenantId
from gateway.model.version import Version
from gateway.objects.bindings import dek_context_head, dek_context_tail
from gateway.objects.context import Services
from gateway.objects.named_rewrapping import under_newest_name
from gateway.objects.new_object import DekPlace
from storaged.base.errors import Kind, StorageError

T = TypeVar("T")

# In this order a look over them misses nothing that moves: rows are only written under an epoch
# that is not the bucket's newest after a row of the same or of an earlier family was read.
FAMILIES = {
    keyspace.CURRENT: "current",
    keyspace.NONCURRENT: "noncurrent",
    keyspace.UPLOAD: "uploads",
    keyspace.PART: "parts",
    keyspace.ANNOTATION: "annotations",
}

# A DEK: where it is bound to, whether another key than the bucket's wraps it too, and the record.
_Dek = tuple[DekPlace, bool, bytes]
# Yields the DEK that is to be resealed, is sent what came of it, and returns what it is for.
Rewrapping = Generator[_Dek, bytes, T]
# A row that waits for its DEK: its number, its key, and both its parts; or what goes on with it.
_Plain = tuple[int, bytes, bytes, bytes]
_Other = tuple[int, Rewrapping[bytes]]


def rewrapped_version(
    services: Services, bucket: Bucket, key: ObjectKey, held: Version, *, is_promoted: bool = False
) -> Version:
    """A version under the newest epochs of its bucket's key and of its named key; as it is, if it
    is.

    Args:
        is_promoted: it was in the index already; see `under_newest_name`.

    Raises: SealInvalid, NamedKeyDisabled, and what the keys raise.
    """
    version = _under_newest(services, bucket, key, held)
    return under_newest_name(services, bucket, key, version, is_promoted=is_promoted)


def _under_newest(services: Services, bucket: Bucket, key: ObjectKey, held: Version) -> Version:
    epoch = bucket.key_epoch
    if held.key_epoch == epoch:
        return held
    work = _version(bucket.bucket_id, key, held, epoch)
    try:
        place, is_inner, wrapped = next(work)
    except StopIteration as done:
        version: Version = done.value
        return version
    run = DekRun(services, place.bucket, (place.tenant, place.key_epoch, is_inner), epoch)
    run.tails.append(dek_context_tail(place.key, place.uuid))
    run.records.append(wrapped)
    record = run.resealed()[0]
    if record is None:
        raise SealInvalid(label=run.label)
    return _ended(work, record)


class DekRun:
    """DEKs between the same two keys: what is resealed in one call.

    Attributes:
        of: their owner, the epoch that they are under, whether another key wraps them too.
        rows: what they are for.
    """

    __slots__ = ("_keys", "_wanted", "label", "records", "rows", "tails")

    def __init__(
        self, services: Services, bucket: BucketId, of: tuple[TenantId, int, bool], epoch: int
    ) -> None:
        owner, old_epoch, is_inner = of
        keys, cluster_id = services.bucket_keys, services.cluster_id
        self.label = INNER_LABEL if is_inner else DEK_LABEL
        self.tails: list[bytes] = []
        self.records: list[bytes] = []
        self.rows: list[_Plain | _Other] = []
        self._keys = keys.keys_of
        self._wanted = Reseal(
            keys.sealer(bucket, old_epoch),
            keys.sealer(bucket, epoch),
            self.label,
            (
                dek_context_head(cluster_id, owner, bucket, old_epoch),
                dek_context_head(cluster_id, owner, bucket, epoch),
            ),
            self.tails,
            self.records,
        )

    def __repr__(self) -> str:
        return f"DekRun({len(self.records)} records)"

    def resealed(self) -> list[bytes | None]:
        """Its DEKs under the other key, None for what does not open. Any thread may call. Raises:
        as the provider.
        """
        return self._keys.reseal(self._wanted)


class RowsUnderWay:
    """Rows of FAMILIES of one bucket, on their way to another epoch of its key: `open` takes them,
    then each of `runs` is resealed, and `seal` takes what came of that.

    Attributes:
        values: of each row its value under the other epoch, at a fresh revision; or why it has to
            stay as it is: it is corrupt, or its key was destroyed.
    """

    def __init__(self, services: Services, bucket: BucketId, epoch: int) -> None:
        self._services = services
        self._bucket = bucket
        self._epoch = epoch
        self._runs: dict[tuple[TenantId, int, bool], DekRun] = {}
        self.values: list[bytes | StorageError] = []

    @property
    def runs(self) -> list[DekRun]:
        """What is to be resealed; mostly one."""
        return list(self._runs.values())

    def open(self, rows: Sequence[Row]) -> None:
        """Take rows; those without a DEK are done. Raises: what the bucket's keys raise, but for
        what makes a row stay.
        """
        records, values = self._services.records, self.values
        number = len(values)
        values += [b""] * len(rows)
        for row in rows:
            try:
                # A version with nothing but its bucket's key around its DEK, which most rows are,
                # is changed as bytes: its fields are not decoded.
                family = row[0][:1]
                if family == keyspace.CURRENT or family == keyspace.NONCURRENT:
                    row_key, value = row
                    cluster, tenant = open_row(records, row_key, value)
                    owner, wrapped, is_inner = owner_and_wrapped(row_key, tenant)
                    if is_inner:
                        self._begin(number, _version_row(self._services, row, self._epoch))
                    elif wrapped:
                        run = self._run((owner, key_epoch_of(value), False))
                        key = _object_of(row_key)
                        run.tails.append(dek_context_tail(key, object_uuid_of(cluster)))
                        run.records.append(wrapped)
                        run.rows.append((number, row_key, cluster, tenant))
                    else:
                        values[number] = self._sealed(row_key, cluster, tenant)
                elif family == keyspace.UPLOAD:
                    self._begin(number, _upload_row(self._services, row, self._epoch))
                else:
                    values[number] = self._sealed(row.key, *open_row(records, row.key, row.value))
            except StorageError as error:
                if error.kind is not Kind.CORRUPT and not isinstance(error, KmsKeyDestroyed):
                    raise
                values[number] = error
            number += 1

    def _begin(self, number: int, work: Rewrapping[bytes]) -> None:
        try:
            place, is_inner, wrapped = next(work)
        except StopIteration as done:
            self.values[number] = done.value
            return
        run = self._run((place.tenant, place.key_epoch, is_inner))
        run.tails.append(dek_context_tail(place.key, place.uuid))
        run.records.append(wrapped)
        run.rows.append((number, work))

    def _run(self, of: tuple[TenantId, int, bool]) -> DekRun:
        run = self._runs.get(of)
        if run is None:
            run = self._runs[of] = DekRun(self._services, self._bucket, of, self._epoch)
        return run

    def seal(self, run: DekRun, records: Sequence[bytes | None]) -> None:
        """Make the values of a run's rows, with the DEKs as they were resealed."""
        for row, record in zip(run.rows, records, strict=True):
            if record is None:
                self.values[row[0]] = SealInvalid(label=run.label)
            elif len(row) == 2:
                self.values[row[0]] = _ended(row[1], record)
            else:
                number, row_key, cluster, tenant = row
                self.values[number] = self._sealed(row_key, cluster, with_wrapped(tenant, record))

    def _sealed(self, row_key: bytes, cluster: bytes, tenant: bytes) -> bytes:
        records, nonces = self._services.records, self._services.nonces
        return seal_row(records, nonces, row_key, cluster, tenant=tenant, key_epoch=self._epoch)


def _ended(work: Rewrapping[T], record: bytes) -> T:
    try:
        work.send(record)
    except StopIteration as done:
        value: T = done.value
        return value
    raise AssertionError("a row has one DEK")


def _bound(attributes: Attributes, key_epoch: int) -> Attributes:
    """What a client's key is bound to stays the epoch that the DEK was wrapped under first."""
    encryption = attributes.encryption
    if encryption is None or encryption.kind != CUSTOMER or encryption.bound_epoch:
        return attributes
    return replace(attributes, encryption=replace(encryption, bound_epoch=key_epoch))


def _version(bucket: BucketId, key: ObjectKey, held: Version, epoch: int) -> Rewrapping[Version]:
    if held.is_delete_marker:
        return replace(held, key_epoch=epoch)
    place = DekPlace(held.owner, bucket, key, held.object_uuid, held.key_epoch)
    wrapped = yield place, held.attributes.encryption is not None, held.wrapped_dek
    attributes = _bound(held.attributes, held.key_epoch)
    return replace(held, wrapped_dek=wrapped, key_epoch=epoch, attributes=attributes)


def _version_row(services: Services, row: Row, epoch: int) -> Rewrapping[bytes]:
    stored = open_version(services.records, row.key, row.value)
    bucket = BucketId(row.key[1 : keyspace.HEAD_BYTES])
    version = yield from _version(bucket, _object_of(row.key), stored.version, epoch)
    return seal_version(services.records, services.nonces, row.key, version, stored.layout)


def _object_of(row_key: bytes) -> ObjectKey:
    if row_key[:1] == keyspace.CURRENT:
        return ObjectKey(row_key[keyspace.HEAD_BYTES :])
    return keyspace.parse_noncurrent(row_key)[1]


def _upload_row(services: Services, row: Row, epoch: int) -> Rewrapping[bytes]:
    held = open_upload(services.records, row.key, row.value).upload
    bucket = BucketId(row.key[1 : keyspace.HEAD_BYTES])
    place = DekPlace(held.owner, bucket, held.key, held.object_uuid, held.key_epoch)
    wrapped = yield place, held.attributes.encryption is not None, held.wrapped_dek
    attributes = _bound(held.attributes, held.key_epoch)
    upload = replace(held, wrapped_dek=wrapped, key_epoch=epoch, attributes=attributes)
    return seal_upload(services.records, services.nonces, row.key, upload)
