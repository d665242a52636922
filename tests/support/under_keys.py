"""One of each kind of thing that holds a wrapped DEK or lies under a bucket's key."""

from __future__ import annotations

from gateway.model.attributes import KMS
from gateway.model.bucket import Versioning
from gateway.objects.complete import complete_upload
from gateway.objects.delete import delete_object
from gateway.objects.multipart import create_upload, upload_part
from gateway.objects.named_keys import create_named_key
from gateway.objects.values import (
    CompleteOptions,
    CompletePart,
    CreateUploadOptions,
    EncryptionAsked,
    GetOptions,
    PartHead,
    PutOptions,
)
from gateway.objects.versioning import set_versioning
from tests.support.annotations import annotate
from tests.support.annotations import content_of as annotation
from tests.support.gateway import BUCKET, TENANT, BytesBody, Gateway
from tests.support.object_rig import keys, put_parts
from tests.support.rotations import CUSTOMER_KEY

SMALL, LARGE = b"small", bytes(range(128)) * 2400
FIRST = b"1" * (5 << 20)  # a part that others may follow
BY_CUSTOMER = EncryptionAsked(customer=CUSTOMER_KEY)
WITH_KEY = GetOptions(customer_key=CUSTOMER_KEY)


class Everything:
    """Objects of every kind, an upload in progress, annotations, and what they must hold."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._older: str | None = None
        self._upload = ""
        self._first: PartHead | None = None

    async def store(self) -> None:
        """Put all of it."""
        gateway, ctx = self._gateway, self._gateway.ctx
        await create_named_key(gateway.services, TENANT, "named")
        for key, content in (("small", SMALL), ("large", LARGE), ("empty", b""), ("k", SMALL)):
            await gateway.put(key, content)
        await put_parts(gateway, "parts", FIRST, b"end")
        await gateway.put("customer", LARGE, PutOptions(encryption=BY_CUSTOMER))
        by_name = EncryptionAsked(kind=KMS, key_id="named")
        await gateway.put("kms", SMALL, PutOptions(encryption=by_name))
        await annotate(gateway, "note", b"a text")
        await annotate(gateway, "long", LARGE)
        await set_versioning(ctx(), BUCKET, Versioning.ENABLED)
        self._older = (await gateway.put("history", b"one")).version_id
        await gateway.put("history", b"two")
        await gateway.put("gone", b"hidden")
        await delete_object(ctx(), BUCKET, "gone")
        options = CreateUploadOptions(encryption=BY_CUSTOMER)
        self._upload = (await create_upload(ctx(), BUCKET, "begun", options)).upload_id
        self._first = await self._part(1, FIRST)

    async def _part(self, number: int, content: bytes) -> PartHead:
        ctx, body = self._gateway.ctx(), BytesBody(content)
        return await upload_part(
            ctx, BUCKET, "begun", self._upload, number, body, None, CUSTOMER_KEY
        )

    async def read(self) -> None:
        """Read all of it, and complete the upload."""
        gateway = self._gateway
        for key, content in (("small", SMALL), ("large", LARGE), ("empty", b""), ("kms", SMALL)):
            assert await gateway.get(key) == content
        assert await gateway.get("parts") == FIRST + b"end"
        assert await gateway.get("customer", WITH_KEY) == LARGE
        assert await annotation(gateway, "note") == b"a text"
        assert await annotation(gateway, "long") == LARGE
        assert await gateway.get("history") == b"two"
        assert await gateway.get("history", GetOptions(version_id=self._older)) == b"one"
        assert "gone" not in await keys(gateway)
        await self._complete()
        assert await gateway.get("begun", WITH_KEY) == FIRST + b"2"
        assert gateway.live_bytes() == gateway.named_bytes()

    async def _complete(self) -> None:
        assert self._first is not None
        parts = [self._first.etag, (await self._part(2, b"2")).etag]
        chosen = [CompletePart(part_number=at, etag=etag) for at, etag in enumerate(parts, 1)]
        options = CompleteOptions(customer_key=CUSTOMER_KEY)
        await complete_upload(self._gateway.ctx(), BUCKET, "begun", self._upload, chosen, options)
