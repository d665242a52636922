"""The S3 endpoint on loopback over a dictionary: for tests of syntax and connections.

Not for semantics: listing, conditions and multipart uploads are those of the use cases' own tests.
"""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import hmac
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest
import uvloop

from gateway.meta.records import ListingEntry
from gateway.metrics import S3Metrics
from gateway.model.action import Action
from gateway.model.errors import NoSuchBucket, NoSuchKey
from gateway.model.names import TenantId
from gateway.objects import buckets, complete, copy, delete, get, multipart, put
from gateway.objects import list as lists
from gateway.objects.body import Body
from gateway.objects.context import Context, Principal, Services
from gateway.objects.values import (
    BucketEntry,
    BucketPage,
    CreateUploadOptions,
    DeleteKey,
    DeleteOutcome,
    GetOptions,
    ListOptions,
    ListPage,
    ObjectHead,
    ObjectRead,
    PartHead,
    PutOptions,
    UploadHead,
)
from gateway.s3.body import digest_of
from gateway.s3.http import FrontendConfig, S3Frontend
from storaged.base.env import RealEnv
from storaged.base.errors import StorageError
from tests.support import raw_s3

CREDENTIALS = raw_s3.Credentials("HXTESTACCESSKEY00001", "correct horse battery staple")
TENANT = TenantId(bytes(16))
PRINCIPAL = Principal(tenant=TENANT, access_key_id=CREDENTIALS.access_key_id, owner_id="0" * 32)
PIECE_BYTES = 64 * 1024


class OneKey:
    """Credentials of a single access key."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str, str], tuple[Principal, bytes]] = {}
        self.uses: dict[str, int] = {}

    def signing_key(
        self, access_key_id: str, date: str, region: str, service: str = "s3"
    ) -> tuple[Principal, bytes] | None:
        if access_key_id != CREDENTIALS.access_key_id:
            return None
        known = self._known.get((date, region, service))
        if known is not None:
            return known
        key = ("AWS4" + CREDENTIALS.secret).encode()
        for text in (date, region, service, "aws4_request"):
            key = raw_s3._hmac(key, text)
        self._known[date, region, service] = PRINCIPAL, key
        return PRINCIPAL, key

    async def having_key(self, call: Callable[[], Any]) -> Any:
        """See `Credentials`."""
        return call()

    def sign_v2(self, access_key_id: str, text: bytes) -> tuple[Principal, bytes] | None:
        if access_key_id != CREDENTIALS.access_key_id:
            return None
        return PRINCIPAL, hmac.digest(CREDENTIALS.secret.encode(), text, "sha1")

    def note_use(self, principal: Principal) -> None:
        """See `Credentials`."""
        self.uses[principal.access_key_id] = 1


@dataclass
class Stored:
    head: ObjectHead
    content: bytes


async def _read_body(body: Body) -> bytes:
    pieces = []
    while piece := await body.read():
        pieces.append(bytes(piece))
    content = b"".join(pieces)
    for expected in body.expected():
        if digest_of(expected.algorithm, content) != expected.digest:
            raise expected.error()
    return content


@dataclass
class DictStore:
    """Use cases over a dictionary. `cut_after`: bytes after which a read fails.

    `writes` counts calls of any use case that would change something.
    """

    objects: dict[str, dict[str, Stored]] = field(default_factory=lambda: {"bucket": {}})
    writes: int = 0
    cut_after: int | None = None
    reading: threading.Event = field(default_factory=threading.Event)
    hold: threading.Event | None = None

    def _bucket(self, name: str) -> dict[str, Stored]:
        if name not in self.objects:
            raise NoSuchBucket(bucket=name)
        return self.objects[name]

    async def put_object(
        self, ctx: Context, bucket: str, key: str, body: Body, options: PutOptions
    ) -> ObjectHead:
        self.writes += 1
        keys = self._bucket(bucket)
        self.reading.set()
        content = await _read_body(body)
        head = ObjectHead(
            key=key,
            version_id=None,
            etag=hashlib.md5(content).hexdigest(),
            length=len(content),
            modified_at_ms=1_700_000_000_123,
            metadata=options.metadata,
            checksum=None,
            part_count=0,
        )
        keys[key] = Stored(head, content)
        return head

    async def upload_part(
        self,
        ctx: Context,
        bucket: str,
        key: str,
        upload_id: str,
        part_number: int,
        body: Body,
        checksum_algorithm: str | None,
    ) -> PartHead:
        self.writes += 1
        content = await _read_body(body)
        self.objects.setdefault("parts", {})[f"{key}/{part_number}"] = cast(Stored, content)
        return PartHead(
            part_number=part_number,
            etag=hashlib.md5(content).hexdigest(),
            length=len(content),
            modified_at_ms=0,
            checksum=None,
        )

    async def create_upload(
        self, ctx: Context, bucket: str, key: str, options: CreateUploadOptions
    ) -> UploadHead:
        self.writes += 1
        return UploadHead(
            key=key,
            upload_id="u",
            created_at_ms=0,
            storage_class="STANDARD",
            checksum_algorithm=None,
            checksum_composite=False,
        )

    async def _pieces(self, content: bytes) -> AsyncIterator[bytes]:
        for offset in range(0, len(content), PIECE_BYTES):
            if self.cut_after is not None and offset >= self.cut_after:
                raise StorageError(offset=offset)
            yield content[offset : offset + PIECE_BYTES]

    async def get_object(
        self, ctx: Context, bucket: str, key: str, options: GetOptions
    ) -> ObjectRead:
        read = await self.head_object(ctx, bucket, key, options)
        content = self.objects[bucket][key].content
        return ObjectRead(
            head=read.head,
            offset=0,
            length=len(content),
            is_range=False,
            body=self._pieces(content),
        )

    async def head_object(
        self, ctx: Context, bucket: str, key: str, options: GetOptions
    ) -> ObjectRead:
        keys = self._bucket(bucket)
        if key not in keys:
            raise NoSuchKey(key=key)
        head = keys[key].head
        return ObjectRead(head=head, offset=0, length=head.length, is_range=False, body=None)

    async def delete_object(self, ctx: Context, bucket: str, key: str, **options: Any) -> None:
        self.writes += 1
        self._bucket(bucket).pop(key, None)

    async def delete_objects(
        self, ctx: Context, bucket: str, keys: list[DeleteKey], *, bypass_governance: bool
    ) -> tuple[DeleteOutcome, ...]:
        self.writes += 1
        for key in keys:
            self._bucket(bucket).pop(key.key, None)
        return tuple(DeleteOutcome(key=key.key, version_id=None, error=None) for key in keys)

    async def list_buckets(self, ctx: Context, **options: Any) -> BucketPage:
        entries = tuple(
            BucketEntry(name=name, created_at_ms=0, location="") for name in sorted(self.objects)
        )
        return BucketPage(buckets=entries, next_token=None)

    async def create_bucket(self, ctx: Context, name: str, location: str | None) -> BucketEntry:
        self.writes += 1
        self.objects[name] = {}
        return BucketEntry(name=name, created_at_ms=0, location="")

    async def head_bucket(
        self, ctx: Context, name: str, action: Action = Action.LIST_BUCKET
    ) -> BucketEntry:
        self._bucket(name)
        return BucketEntry(name=name, created_at_ms=0, location="")

    async def list_objects(self, ctx: Context, bucket: str, options: ListOptions) -> ListPage:
        entries = tuple(
            ListingEntry(key, stored.head.etag, stored.head.length, 0, "STANDARD")
            for key, stored in sorted(self._bucket(bucket).items())
            if key.startswith(options.prefix)
        )
        return ListPage(
            entries=entries,
            common_prefixes=(),
            is_truncated=False,
            next_after=None,
            next_token=None,
        )

    async def refuse(self, ctx: Context, *_: Any, **__: Any) -> Any:
        """Stands for every other use case that writes."""
        self.writes += 1
        raise NoSuchBucket(bucket="refused")

    def bindings(self) -> list[tuple[Any, str, Callable[..., Any]]]:
        return [
            (put, "put_object", self.put_object),
            (get, "get_object", self.get_object),
            (get, "head_object", self.head_object),
            (delete, "delete_object", self.delete_object),
            (delete, "delete_objects", self.delete_objects),
            (copy, "copy_object", self.refuse),
            (lists, "list_objects", self.list_objects),
            (multipart, "create_upload", self.create_upload),
            (multipart, "upload_part", self.upload_part),
            (multipart, "upload_part_copy", self.refuse),
            (complete, "complete_upload", self.refuse),
            (multipart, "abort_upload", self.refuse),
            (buckets, "list_buckets", self.list_buckets),
            (buckets, "create_bucket", self.create_bucket),
            (buckets, "head_bucket", self.head_bucket),
            (buckets, "delete_bucket", self.refuse),
        ]


@dataclass
class Endpoint:
    """A running endpoint; `lines` of its access log, its counters and the store under it."""

    port: int
    store: DictStore
    metrics: S3Metrics
    frontend: S3Frontend
    lines: list[bytes]

    def client(self, timeout_s: float = 10.0) -> raw_s3.RawClient:
        return raw_s3.RawClient("127.0.0.1", self.port, CREDENTIALS, timeout_s)


class LoopThread:
    """An event loop of its own thread."""

    def __init__(self) -> None:
        self.loop = uvloop.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, coroutine: Any, timeout_s: float = 20.0) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(timeout_s)

    def close(self) -> None:
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(10)
        self.loop.close()


def _services(env: RealEnv) -> Services:
    """What a request is checked by; what use cases would need is not there."""
    unused = {
        one.name: None
        for one in dataclasses.fields(Services)
        if one.init and one.default is one.default_factory is dataclasses.MISSING
    }
    no_buckets = SimpleNamespace(find=lambda name: None)  # so nothing is open to everybody
    given = {"env": env, "credentials": OneKey(), "region": "us-east-1", "buckets": no_buckets}
    given["bucket_keys"] = SimpleNamespace(is_remote=False)
    services = Services(**cast(Any, {**unused, **given}))
    services.identities = cast(Any, SimpleNamespace(name_of=lambda owner_id: ""))
    return services


@contextmanager
def running_endpoint(**options: Any) -> Iterator[Endpoint]:
    """An endpoint with a fresh `DictStore`; options are those of `FrontendConfig`, and
    `ssl_context`.
    """
    context = options.pop("ssl_context", None)
    lines: list[bytes] = []
    fields: dict[str, Any] = {
        "regions": ("us-east-1",),
        "base_domains": ("s3.test",),
        "access_log": lines.append,
        "linger_s": 0.5,
        **options,
    }
    store, metrics, env = DictStore(), S3Metrics(), RealEnv()
    services = _services(env)
    frontend = S3Frontend(services, FrontendConfig(**fields), metrics)
    thread = LoopThread()
    with pytest.MonkeyPatch.context() as patch:
        for module, name, function in store.bindings():
            patch.setattr(module, name, function)
        port = thread.run(frontend.start("127.0.0.1", 0, context))
        try:
            yield Endpoint(port, store, metrics, frontend, lines)
        finally:
            thread.run(frontend.stop(1.0))
            thread.close()
            env.close()
