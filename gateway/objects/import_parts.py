"""Bytes that come into a cluster before the version they belong to has a row: parts, annotations.

Not for the version itself (`gateway.objects.importing`). A garbage row names meanwhile what is
there, as for annotations of a copy, and the batch that makes the version drops it: so after a
crash, or when an import comes to nothing, the job `garbage` takes them away.

Invariants: D2, D3 (see `gateway.objects.parting`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from gateway.commit.change import Change, Draft, StripeChange
from gateway.meta import keyspace
from gateway.meta.annotations import seal_annotation
from gateway.meta.kv import Batch, Check, Exists, Write, revision_of
from gateway.meta.part_records import seal_part
from gateway.model.annotations import PART_NUMBER
from gateway.model.exported import IncomingPart
from gateway.model.layout import Layout
from gateway.model.version import Checksum, Part
from gateway.objects.body import Buffer, ExpectedDigest
from gateway.objects.context import Services
from gateway.objects.new_object import NewObject
from gateway.objects.parting import NOTHING, Parting, part_later
from gateway.objects.publish import IdsGivenBack, until_committed
from gateway.objects.store import SealedPart, store_part
from gateway.objects.target import OpenBucket, Target
from storaged.base.errors import Kind, StorageError

if TYPE_CHECKING:
    from hashlib import _Hash

PIECE_BYTES = 256 * 1024


class ContentDiffers(StorageError):
    """The bytes are not those that the record tells of."""

    kind = Kind.INVALID
    hint = "`hexagone export-verify` says which files of the export were changed"


class Source(Protocol):
    """The bytes of one version and of its annotations, in order."""

    async def read(self, bytes_max: int) -> Buffer:
        """The next bytes; b"" when there are no more. Raises: StorageError."""
        ...


class Slice:
    """So many bytes of a source, as the body of a part; digests what passes."""

    __slots__ = ("_digest", "_left", "_source", "length")

    digests: tuple[str, ...] = ()

    def __init__(self, source: Source, length: int, digest: _Hash) -> None:
        self._source = source
        self._left = length
        self._digest = digest
        self.length = length

    async def read(self) -> Buffer:
        """See the port."""
        if not self._left:
            return b""
        piece = await self._source.read(min(self._left, PIECE_BYTES))
        self._left -= len(piece)
        self._digest.update(piece)
        return piece

    def expected(self) -> tuple[ExpectedDigest, ...]:
        """What it has to be is judged over the whole version."""
        return ()


def stored_change(
    services: Services,
    opened: OpenBucket,
    row_key: bytes,
    part: SealedPart | None,
    seal: Callable[[Layout | None], bytes],
    checks: tuple[Check | Exists, ...],
    writes: tuple[Write, ...],
) -> Change:
    """The change that sets a row and brings the bytes it names."""
    bodies: tuple[Buffer, ...] = ()
    drafts: tuple[Draft, ...] = ()
    stripes: tuple[StripeChange, ...] = () if part is None else part.creates
    if part is not None and part.body is not None:
        bodies, drafts = (part.body,), (Draft(row_key, 0, seal),)
    else:
        writes = (*writes, Write(row_key, seal(None if part is None else part.layout)))
    batch = Batch(
        partition=opened.bucket.bucket_id,
        request_id=services.env.random_bytes(16),
        checks=checks,
        writes=writes,
    )
    return Change(
        batch=batch,
        bodies=bodies,
        drafts=drafts,
        stripes=stripes,
        reserved=None if part is None else part.reserved,
    )


class InTheMaking:
    """Parts and annotations of a version that has no row yet, guarded from the job `garbage`.

    A garbage row names them meanwhile, as for annotations of a copy: so after a crash they go.
    """

    def __init__(
        self,
        services: Services,
        target: Target,
        new: NewObject,
        opened: Callable[[], OpenBucket],
    ) -> None:
        self._services = services
        self._target = target
        self._new = new
        self._opened = opened
        self._garbage: Write | None = None

    def __enter__(self) -> InTheMaking:
        self._services.in_the_making.add(self._new.name.uuid)
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self._services.in_the_making.discard(self._new.name.uuid)

    def done(self) -> Parting:
        """What the batch that makes the version has to do."""
        if self._garbage is None:
            return NOTHING
        return Parting((Write(self._garbage.key, None),), (), (self._unchanged(),))

    def _unchanged(self) -> Check:
        assert self._garbage is not None and self._garbage.value is not None
        return Check(self._garbage.key, revision_of(self._garbage.value))

    async def write(
        self, told: IncomingPart, source: Source, digest: _Hash, storage_class: str
    ) -> None:
        """Store the next bytes as a part or an annotation. Raises: as Installer.install."""
        services = self._services
        await self._begin()
        number = PART_NUMBER if told.name else told.number
        body = Slice(source, told.plain_bytes, digest)
        name = self._new.name._replace(number=number)
        algorithm = None if told.checksum is None else told.checksum.algorithm
        part = await store_part(services, name, body, algorithm, storage_class)
        with IdsGivenBack(services, part.reserved):
            if not _is_told(told, part.checksum, part.etag):
                raise ContentDiffers(key=self._target.key.decode("utf-8"), part=number)
            held = Part(
                number=number,
                seal=part.seal,
                etag=told.etag,
                checksum=told.checksum,
                created_at_ms=told.created_at_ms,
            )
            await self._commit(told, held, part)

    async def _commit(self, told: IncomingPart, held: Part, part: SealedPart) -> None:
        services, bucket, uuid = self._services, self._target.bucket_id, self._new.name.uuid
        records, nonces = services.records, services.nonces
        if told.name:
            row_key = keyspace.annotation_row(bucket, uuid, told.name.encode("utf-8"))
        else:
            row_key = keyspace.part_row(bucket, uuid, held.number)

        async def attempt() -> None:
            # Sealed under the epoch that the bucket's key has at this instant: who rotates it
            # would else miss the row.
            opened = self._opened()
            epoch = opened.bucket.key_epoch

            def seal(at: Layout | None) -> bytes:
                assert at is not None, "a part has bytes"
                sealed = seal_annotation if told.name else seal_part
                return sealed(records, nonces, row_key, held, at, key_epoch=epoch)

            checks = (
                Check(opened.row_key, revision_of(opened.value)),
                self._unchanged(),
                Check(row_key, None),
            )
            change = stored_change(services, opened, row_key, part, seal, checks, ())
            await services.log.commit_change(change)

        await until_committed(services, row_key, attempt)

    async def _begin(self) -> None:
        """Name what will be written, once."""
        if self._garbage is not None:
            return
        services, bucket, uuid = self._services, self._target.bucket_id, self._new.name.uuid
        later = part_later(services, bucket, uuid, (), with_annotations=True, is_open=True)
        (garbage,) = later.writes
        batch = Batch(
            partition=bucket,
            request_id=services.env.random_bytes(16),
            checks=(Exists(self._target.opened.row_key),),
            writes=(garbage,),
        )
        await services.log.commit_change(Change(batch=batch))
        self._garbage = garbage


def _is_told(told: IncomingPart, checksum: Checksum | None, etag: str) -> bool:
    """Whether stored bytes are what a record says: an annotation has no other digest."""
    if told.checksum is not None and told.checksum.type == "FULL_OBJECT":
        return checksum is not None and checksum.value == told.checksum.value
    return not told.name or told.etag == etag
