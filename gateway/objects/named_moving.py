"""DEKs under named keys, wrapped anew while those keys move from a file of the key service into an
HSM.

Not for the rest of a move (`gateway.objects.key_move`). Only the layer of the named key changes: no
byte moves, the bucket's key keeps its epoch. What a key of the file has wrapped is told by its
length; once a named key has its counterpart in the token nothing more is wrapped so, but what was
may pass from row to row, as an upload does that is completed. So passes go on until one finds none.

Source: docs/hsm.md, "Moving to one".
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import NamedTuple

from gateway.data.envelope import WRAPPED_BYTES, NamedKeyDestroyed
from gateway.data.named_form import parted
from gateway.meta import keyspace
from gateway.meta.kv import BatchConflict, Check, Row, Write, revision_of
from gateway.model.errors import KmsKeyDestroyed
from gateway.model.names import BucketId, TenantId
from gateway.objects.context import Services
from gateway.objects.erasure_looks import buckets_of
from gateway.objects.key_rotation import commit_rows
from gateway.objects.named_rewrapping import FAMILIES, rewrapped_row
from storaged.base.errors import Kind, StorageError

PAGE_ROWS = 64  # a few calls of the key service for each that has a named key

logger = logging.getLogger(__name__)


class Looked(NamedTuple):
    """What a look over a tenant's rows has found under keys of the file.

    Args:
        found: rows. wrapped: of these, wrapped anew. unreadable: rows that do not open.
    """

    found: int = 0
    wrapped: int = 0
    unreadable: int = 0

    def plus(self, other: Looked) -> Looked:
        """Both."""
        return Looked(*(one + more for one, more in zip(self, other, strict=True)))


async def look(services: Services, tenant: TenantId, *, rewrap: bool) -> Looked:
    """Look over all rows of a tenant that name a key; wrap anew what is under one of the file.

    Raises: as the provider and the log; what makes one row unreadable is counted.
    """
    total = Looked()
    for bucket in buckets_of(services, tenant):
        for family in FAMILIES:
            start, end = keyspace.family_range(family, bucket)
            while rows := services.log.scan(start, end, limit=PAGE_ROWS):
                start = keyspace.after(rows[-1].key)
                total = total.plus(await _page(services, bucket, rows, rewrap=rewrap))
                await services.env.sleep(0)
    return total


async def _page(
    services: Services, bucket: BucketId, rows: Sequence[Row], *, rewrap: bool
) -> Looked:
    found: list[tuple[Row, bytes]] = []
    unreadable = 0
    for row in rows:
        try:
            value = await rewrapped_row(services, bucket, row, _is_of_file, rewrap=rewrap)
        except (KmsKeyDestroyed, NamedKeyDestroyed):
            continue  # it is lost: it needs no key of the file
        except StorageError as error:
            if error.kind is not Kind.CORRUPT:
                raise
            logger.error("a row under a named key does not open: %s", error)
            unreadable += 1
            continue
        if value:
            found.append((row, value))
    wrapped = 0
    for row, value in found if rewrap else ():
        checks = (Check(row.key, revision_of(row.value)),)
        try:
            await commit_rows(services, checks, (Write(row.key, value),), bucket)
            wrapped += 1
        except BatchConflict:
            continue  # somebody has changed it: the next pass looks at that
    return Looked(len(found), wrapped, unreadable)


def _is_of_file(inner: bytes) -> bool:
    return len(parted(inner)[1]) == WRAPPED_BYTES
