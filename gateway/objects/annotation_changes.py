"""The changes that set or drop the row of an annotation, and the body that has to be text.

Not for deciding whether a caller may (`annotating`). Whatever changes how many a version has writes
the version's row in the same batch, and everything checks it: so none is added to what is taken
away at that moment, and each stripe is counted down once.
"""

from __future__ import annotations

import codecs
from dataclasses import replace
from typing import NamedTuple

from gateway.commit.change import Change, Draft
from gateway.limits import ANNOTATIONS_MAX
from gateway.meta import keyspace
from gateway.meta.annotations import annotation_unchanged, seal_annotation
from gateway.meta.kv import Batch, Check, Exists, Write
from gateway.meta.part_records import StoredPart
from gateway.meta.records import StoredVersion
from gateway.model.annotations import PART_NUMBER
from gateway.model.errors import AnnotationLimitExceeded, UnsupportedMediaType
from gateway.model.names import BucketId
from gateway.model.version import Part
from gateway.objects import outbox
from gateway.objects.body import Body, Buffer, ExpectedDigest
from gateway.objects.context import Context, Services
from gateway.objects.history import Found, rewritten
from gateway.objects.publish import checks_of
from gateway.objects.releases import releases_of
from gateway.objects.store import SealedPart
from gateway.objects.target import Target


def annotation_of(services: Services, part: SealedPart) -> Part:
    """What will be kept of sealed bytes."""
    return Part(
        number=PART_NUMBER,
        seal=part.seal,
        etag=part.etag,
        checksum=part.checksum,
        created_at_ms=services.env.now_ms(),
    )


def change_with(
    services: Services,
    bucket: BucketId,
    row_key: bytes,
    checks: tuple[Check | Exists, ...],
    writes: tuple[Write, ...],
    held: Part,
    part: SealedPart,
    key_epoch: int,
) -> Change:
    """The change that sets the row of an annotation, and whatever `writes` say.

    Args:
        key_epoch: of the version that it belongs to.
    """
    records, nonces = services.records, services.nonces
    bodies: tuple[Buffer, ...] = ()
    drafts: tuple[Draft, ...] = ()
    if part.layout is not None:
        value = seal_annotation(records, nonces, row_key, held, part.layout, key_epoch=key_epoch)
        writes = (*writes, Write(row_key, value))
    else:
        assert part.body is not None, "an annotation is striped or sealed whole"
        bodies = (part.body,)
        drafts = (
            Draft(
                row_key,
                0,
                lambda at: seal_annotation(records, nonces, row_key, held, at, key_epoch=key_epoch),
            ),
        )
    batch = Batch(
        partition=bucket,
        request_id=services.env.random_bytes(16),
        checks=checks,
        writes=writes,
    )
    return Change(
        batch=batch, bodies=bodies, drafts=drafts, stripes=part.creates, reserved=part.reserved
    )


class AnnotationChange(NamedTuple):
    """What is known when an annotation of a version changes."""

    ctx: Context
    target: Target
    current: StoredVersion | None
    found: Found
    name: bytes
    before: StoredPart | None

    def over(self, held: Part | None, part: SealedPart | None) -> Change:
        """Put the annotation in place of the one before; None: take that away.

        Raises: AnnotationLimitExceeded.
        """
        services, target, found = self.ctx.services, self.target, self.found
        version = held_version = found.stored.version
        row_key = keyspace.annotation_row(target.bucket_id, version.object_uuid, self.name)
        told_name = None if held is None else self.name.decode("utf-8")
        version, writes = outbox.annotated(services, self.ctx, target, version, told_name)
        count = version.attributes.annotations
        count += (held is not None) - (self.before is not None)
        if count > ANNOTATIONS_MAX:
            raise AnnotationLimitExceeded(key=target.key.decode("utf-8"))
        attributes = replace(version.attributes, annotations=count)
        if attributes != held_version.attributes:
            changed = replace(version, attributes=attributes)
            writes += rewritten(services, found, changed).writes
        checks = (
            *checks_of(target, self.current),
            Check(found.row_key, found.stored.revision),
            annotation_unchanged(row_key, self.before),
        )
        released = () if self.before is None else tuple(releases_of(self.before.layout))
        if held is None or part is None:
            batch = Batch(
                partition=target.bucket_id,
                request_id=services.env.random_bytes(16),
                checks=checks,
                writes=(*writes, Write(row_key, None)),
            )
            return Change(batch=batch, stripes=released)
        made = change_with(
            services, target.bucket_id, row_key, checks, writes, held, part, version.key_epoch
        )
        return replace(made, stripes=made.stripes + released)


class Utf8Body:
    """A body that has to be UTF-8."""

    __slots__ = ("_body", "_decoder", "_left")

    def __init__(self, body: Body) -> None:
        self._body = body
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._left = body.length

    @property
    def length(self) -> int:
        return self._body.length

    @property
    def digests(self) -> tuple[str, ...]:
        return self._body.digests

    async def read(self) -> Buffer:
        """See the port. Raises: UnsupportedMediaType, before the last piece is given out."""
        piece = await self._body.read()
        self._left -= len(piece)
        try:
            self._decoder.decode(bytes(piece), final=self._left <= 0)
        except UnicodeDecodeError:
            raise UnsupportedMediaType() from None
        return piece

    def expected(self) -> tuple[ExpectedDigest, ...]:
        """See the port."""
        return self._body.expected()
