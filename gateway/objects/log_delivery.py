"""Access logs from rows into objects of their buckets.

Rows are put as one object, after which they go: a crash in between delivers them twice.

Not for when (`gateway.jobs.logs`), nor for what a line says (`gateway.s3.server_log`).

Source: Amazon S3 User Guide, "Logging requests with server access logging", "Log object key
format".
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from gateway.commit.change import Change
from gateway.meta import keyspace
from gateway.meta.queues import Queued, Queues
from gateway.model.attributes import Attributes, Grant
from gateway.model.errors import QuotaExceeded
from gateway.model.names import BucketId
from gateway.objects.access_request import ROOT_USER
from gateway.objects.body import Buffer, ExpectedDigest
from gateway.objects.bucket_config import find_document
from gateway.objects.bucket_logging import DOCUMENT, EVENT_TIME, SIMPLE, may_deliver_for
from gateway.objects.context import Context, Principal, Services
from gateway.objects.log_spool import LogRoute
from gateway.objects.put import put_object
from gateway.objects.target import OpenBucket
from gateway.objects.values import Metadata, PutOptions
from storaged.base.errors import Kind, StorageError

logger = logging.getLogger(__name__)

OBJECT_BYTES_MAX = 8 << 20
PAGE_ROWS = 32
ROWS_MAX = 4096  # of one delivery
ROLLS_ALONE = 6  # so many times as long waits a log of one line
DELIVERY_S = 60.0
UNIQUE_BYTES = 8
DAY_MS = 86_400_000
_FINAL = frozenset({Kind.INVALID, Kind.DENIED, Kind.NOT_FOUND})


class LogObject(NamedTuple):
    """What lines must have in common to go into one object; `source`, `owner`, `day` only where
    the object's key says them.
    """

    target: BucketId
    target_name: str
    prefix: str
    key_format: str
    grants: tuple[tuple[str, str, str], ...]
    source: str
    owner: str
    day: int


def route_of(services: Services, opened: OpenBucket) -> LogRoute | None:
    """Where the log of a bucket goes; None: nowhere. Raises: RowCorrupt."""
    document = find_document(services, opened, DOCUMENT)
    target = None if document is None else services.buckets.find(document["target"])
    if document is None or target is None:
        return None
    return LogRoute(
        target.bucket.bucket_id,
        document["target"],
        document["prefix"],
        document["format"],
        tuple((kind, grantee, permission) for kind, grantee, permission in document["grants"]),
        opened.bucket.name,
        services.identities.of_tenant(opened.bucket.tenant).owner_id,
    )


def queues_of(services: Services) -> Queues:
    """The queues of this process."""
    return Queues(services.log, services.records, services.nonces, services.env)


async def deliver(services: Services, bucket: BucketId) -> int:
    """Put what is due of one target's lines as objects; how many objects.

    A log of a single line waits longer, for company. Raises: what the log raises.
    """
    queues = queues_of(services)
    rows, is_all = await _oldest_rows(services, queues, bucket)
    now_ms, roll_ms = services.env.now_ms(), round(services.log_roll_s * 1000)
    count = 0
    for group, members in _grouped(rows).items():
        age_ms = now_ms - members[0].at_ms
        lines = sum(row.document["text"].count("\n") for row in members)
        patience = 1 if lines > 1 else ROLLS_ALONE
        if is_all and age_ms < roll_ms * patience:
            continue
        await _deliver_object(services, group, members)
        batch = queues.changed(bucket, [row.row_key for row in members])
        await services.log.commit_change(Change(batch=batch))
        count += 1
    return count


async def _oldest_rows(
    services: Services, queues: Queues, bucket: BucketId
) -> tuple[list[Queued], bool]:
    """Rows of one target, as many as fit an object, and whether these are all."""
    found: list[Queued] = []
    size, after = 0, None
    while True:
        page = queues.of_bucket(keyspace.LOG_LINES, bucket, after, limit=PAGE_ROWS)
        for row in page:
            size += len(row.document["text"])
            if found and (size > OBJECT_BYTES_MAX or len(found) >= ROWS_MAX):
                return found, False
            found.append(row)
        if len(page) < PAGE_ROWS:
            return found, True
        after = page[-1].row_key
        await services.env.sleep(0)


def _grouped(rows: Iterable[Queued]) -> dict[LogObject, list[Queued]]:
    groups: dict[LogObject, list[Queued]] = {}
    for row in rows:
        said = row.document
        is_simple = said["key_format"] == SIMPLE
        by_event = said["key_format"] == EVENT_TIME
        group = LogObject(
            row.bucket,
            said["target_name"],
            said["prefix"],
            said["key_format"],
            tuple((kind, grantee, permission) for kind, grantee, permission in said["grants"]),
            "" if is_simple else said["source"],
            "" if is_simple else said["owner"],
            row.at_ms // DAY_MS if by_event else 0,
        )
        groups.setdefault(group, []).append(row)
    return groups


async def _deliver_object(services: Services, group: LogObject, rows: Sequence[Queued]) -> None:
    """Put one object; what the target does not (or no longer) let in is dropped."""
    target = services.buckets.find(group.target_name)
    if target is None or target.bucket.bucket_id != group.target:
        return
    identity = services.identities.of_tenant(target.bucket.tenant)
    deliverer = Principal(
        tenant=target.bucket.tenant,
        access_key_id="",
        owner_id=identity.owner_id,
        user=ROOT_USER,
        display_name=identity.name,
    )
    env = services.env
    ctx = Context(services, deliverer, env.random_bytes(16), env.monotonic_s() + DELIVERY_S)
    allowed: dict[tuple[str, str], bool] = {}
    texts = []
    for row in rows:
        source = (row.document["source"], row.document["owner"])
        if source not in allowed:
            allowed[source] = may_deliver_for(ctx, target, *source, group.prefix)
        if allowed[source]:
            texts.append(row.document["text"])
    if not texts:
        return
    grants = tuple(
        Grant(kind=kind, grantee=grantee, permission=permission)
        for kind, grantee, permission in group.grants
    )
    metadata = Metadata(
        headers=(("content-type", "text/plain"),), attributes=Attributes(acl=grants)
    )
    key = log_key(services, group, env.now_ms())
    body = TextBody("".join(texts).encode())
    try:
        await put_object(ctx, group.target_name, key, body, PutOptions(metadata=metadata))
    except StorageError as error:
        # A target that is full loses its lines, so that no other waits for it.
        if error.kind not in _FINAL and not isinstance(error, QuotaExceeded):
            raise
        logger.warning("an access log cannot be put into %s: %s", group.target_name, error)


def log_key(services: Services, group: LogObject, now_ms: int) -> str:
    """Key of the object, as AWS names them."""
    now = datetime.fromtimestamp(now_ms / 1000, UTC)
    unique = services.env.random_bytes(UNIQUE_BYTES).hex().upper()
    if group.key_format == SIMPLE:
        return f"{group.prefix}{now:%Y-%m-%d-%H-%M-%S}-{unique}"
    within = f"{now:%Y-%m-%d-%H-%M-%S}"
    if group.key_format == EVENT_TIME:
        now = datetime.fromtimestamp(group.day * 86_400, UTC)
        within = f"{now:%Y-%m-%d-00-00-00}"
    folder = f"{group.owner}/{services.region}/{group.source}/{now:%Y/%m/%d}"
    return f"{group.prefix}{folder}/{within}-{unique}"


class TextBody:
    """Bytes of our own as the body of an object."""

    __slots__ = ("_content", "length")

    digests: tuple[str, ...] = ()

    def __init__(self, content: bytes) -> None:
        self.length = len(content)
        self._content: bytes = content

    async def read(self) -> Buffer:
        """See the port."""
        content, self._content = self._content, b""
        return content

    def expected(self) -> tuple[ExpectedDigest, ...]:
        """Nothing was promised."""
        return ()
