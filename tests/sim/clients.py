"""Clients: what they call, what they write down about it, and what no answer may ever say."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from gateway.model.errors import NoSuchKey, PreconditionFailed
from gateway.objects.complete import complete_upload
from gateway.objects.copy import copy_object
from gateway.objects.delete import delete_object
from gateway.objects.multipart import abort_upload, create_upload, upload_part
from gateway.objects.put import put_object
from gateway.objects.rename import rename_object
from gateway.objects.values import (
    CompleteOptions,
    CompletePart,
    CopyOptions,
    CopySource,
    CreateUploadOptions,
    Metadata,
    ObjectHead,
    PutOptions,
    ReadConditions,
    RenameOptions,
    WriteConditions,
)
from storaged.base.errors import StorageError
from tests.sim.history import (
    Operation,
    Steps,
    sees,
    sees_other_than,
    swaps,
    writes,
)
from tests.sim.process import GatewayProcess
from tests.sim.reads import Reader, Unanswered
from tests.support.gateway import BUCKET, BytesBody

T = TypeVar("T")

SIZE_MAX = 300_000


class Client(Reader):
    """One client, one call at a time: reads and writes."""

    async def run(self, count: int, pause_s: float) -> None:
        """Make `count` calls."""
        calls: tuple[tuple[Callable[[], Awaitable[object]], int], ...] = (
            (self.put, 30),
            (self.get, 26),
            (self.put_if, 12),
            (self.delete, 10),
            (self.copy, 6),
            (self.rename, 0 if self.world.shape.versioned else 6),
            (self.list_all, 8),
            (self.multipart, 6),
            (self.get_range, 5),
            (self.prune, 6 if self.world.shape.versioned else 0),
        )
        verbs, weights = zip(*calls, strict=True)
        for _ in range(count):
            await asyncio.sleep(self.rng.expovariate(1 / pause_s))
            await self.rng.choices(verbs, weights)[0]()

    async def write(
        self,
        key: str,
        what: str,
        steps: Steps,
        make: Callable[[GatewayProcess], Awaitable[T]],
        *expected: type[StorageError],
        gateway: GatewayProcess | None = None,
    ) -> T | None:
        """A call that changes a key; None where its outcome is not known."""
        gateway = gateway or await self.world.serving()
        operation = self.world.history.begin(key, f"{self.name} {what}", steps)
        try:
            answer = await self.call(f"{what} {key}", make, *expected, gateway=gateway)
        except Unanswered:
            return None
        except StorageError as error:
            self._refused(key, operation, error)
            return None
        self.world.history.end(operation)
        return answer

    def _refused(self, key: str, operation: Operation, error: StorageError) -> None:
        self.world.history.void(key, operation)

    def _size(self) -> int:
        rng, small = self.rng, self.world.shape.small_max
        return rng.choices(
            (
                0,
                1,
                rng.randint(2, 300),
                small,
                small + 1,
                small - 1,
                65_536 + rng.randint(-1, 1),
                rng.randint(1, SIZE_MAX),
            ),
            (3, 3, 30, 4, 6, 3, 3, 6),
        )[0]

    def _body(self, value: int) -> BytesBody:
        return BytesBody(self.bodies.content(value), piece_bytes=self.rng.choice((7000, 65_536)))

    def _options(self, value: int, **more: Any) -> PutOptions:
        return PutOptions(metadata=Metadata(user=(("v", str(value)),)), **more)

    async def put(self, gateway: GatewayProcess | None = None) -> None:
        """An unconditional PUT."""
        key, value = self._key(), self.bodies.make(self._size())
        head = await self.write(
            key,
            f"put {value}",
            writes(value),
            lambda g: put_object(g.ctx(), BUCKET, key, self._body(value), self._options(value)),
            gateway=gateway,
        )
        self._keep(key, head, value)

    async def put_if(self) -> None:
        """A PUT if nothing is there, or if a known version is."""
        key, value = self._key(), self.bodies.make(self._size())
        seen = await self._head(key) if self.rng.random() < 0.5 else None
        history = self.world.history
        if seen is None:
            conditions = WriteConditions(if_none_match="*")
            held = sees_other_than(None)
            steps = swaps(lambda state: state is None, value)
        else:
            etag = seen.etag
            conditions = WriteConditions(if_match=f'"{etag}"')
            sure = {v for v in self.bodies.by_etag[etag] if self.bodies.etags[v] == {etag}}
            known = self.bodies.by_etag[etag]
            held = sees_other_than(*sure)
            steps = swaps(lambda state: state in known, value)
        operation = history.begin(key, f"{self.name} put-if {value}", steps)
        try:
            await self.call(
                f"put-if {key}",
                lambda g: put_object(
                    g.ctx(),
                    BUCKET,
                    key,
                    self._body(value),
                    self._options(value, conditions=conditions),
                ),
                PreconditionFailed,
                NoSuchKey,
            )
        except PreconditionFailed:
            history.end(operation, held, " refused")
        except NoSuchKey:
            history.end(operation, sees(None), " no key")
        except Unanswered:
            return
        else:
            history.end(operation)

    async def delete(self, gateway: GatewayProcess | None = None) -> None:
        """A DELETE."""
        key = self._key()
        await self.write(
            key,
            "delete",
            writes(None),
            lambda g: delete_object(g.ctx(), BUCKET, key),
            gateway=gateway,
        )

    async def copy(self) -> None:
        """A server-side copy."""
        source, key = self._key(), self._key()
        if source == key:
            return
        history = self.world.history
        possible = set(self.bodies.sizes)
        onto = history.begin(key, f"{self.name} copy of {source}", writes(*possible))
        seen = history.begin(source, f"{self.name} copied", sees(None, *possible))
        try:
            copied = await self.call(
                f"copy {source} {key}",
                lambda g: copy_object(
                    g.ctx(),
                    CopySource(bucket=BUCKET, key=source),
                    BUCKET,
                    key,
                    CopyOptions(),
                ),
                NoSuchKey,
            )
        except NoSuchKey:
            history.end(seen, sees(None), " none")
            history.void(key, onto)
        except Unanswered:
            history.void(source, seen)
        else:
            value = self._value_of(copied.head)
            history.end(seen, sees(value), f" {value}")
            history.end(onto, writes(value), f" {value}")

    async def rename(self) -> None:
        """A rename of a known object. That the source goes and the target comes are two calls of
        the history; what links them is that nothing but this body may come.
        """
        source, key = self._key(), self._key()
        seen = None if source == key else await self._head(source)
        if seen is None:
            return
        history, known = self.world.history, self.bodies.by_etag[seen.etag]
        sure = {v for v in known if self.bodies.etags[v] == {seen.etag}}
        away = history.begin(
            source, f"{self.name} renamed", swaps(lambda state: state in known, None)
        )
        onto = history.begin(key, f"{self.name} rename of {source}", writes(*known))
        options = RenameOptions(source=ReadConditions(if_match=f'"{seen.etag}"'))
        refused: dict[type[StorageError], Steps] = {
            NoSuchKey: sees(None),
            PreconditionFailed: sees_other_than(*sure),
        }
        try:
            await self.call(
                f"rename {source} {key}",
                lambda g: rename_object(g.ctx(), BUCKET, source, key, options),
                *refused,
            )
        except Unanswered:
            return
        except (NoSuchKey, PreconditionFailed) as error:
            history.end(away, refused[type(error)], " refused")
            history.void(key, onto)
        else:
            history.end(away)
            history.end(onto)

    async def multipart(self) -> None:
        """A multipart upload, completed mostly."""
        key = self._key()
        try:
            await self._multipart(key)
        except Unanswered:
            return

    async def _multipart(self, key: str) -> None:
        rng, bodies = self.rng, self.bodies
        sizes = [max(20, self._size()) for _ in range(rng.randint(1, 2))] + [self._size()]
        value = bodies.make(sum(sizes))
        content = bodies.content(value)
        made = await self.call(
            f"create {key}",
            lambda g: create_upload(
                g.ctx(),
                BUCKET,
                key,
                CreateUploadOptions(metadata=Metadata(user=(("v", str(value)),))),
            ),
        )
        parts: list[CompletePart] = []
        digests = b""
        at = 0
        for number, size in enumerate(sizes, 1):
            piece = content[at : at + size]
            at += size
            digests += hashlib.md5(piece).digest()

            def upload(g: GatewayProcess, number: int = number, piece: bytes = piece) -> Any:
                body = BytesBody(piece)
                return upload_part(g.ctx(), BUCKET, key, made.upload_id, number, body, None)

            part = await self.call(f"part {number} {key}", upload)
            parts.append(CompletePart(part_number=number, etag=part.etag))
        bodies.know(value, f"{hashlib.md5(digests).hexdigest()}-{len(sizes)}")
        if rng.random() < 0.15:
            await self.call(
                f"abort {key}", lambda g: abort_upload(g.ctx(), BUCKET, key, made.upload_id)
            )
            return
        head = await self.write(
            key,
            f"complete {value}",
            writes(value),
            lambda g: complete_upload(
                g.ctx(), BUCKET, key, made.upload_id, parts, CompleteOptions()
            ),
        )
        self._keep(key, head, value)

    def _keep(self, key: str, head: ObjectHead | None, value: int) -> None:
        """An acknowledged version: it must be there until somebody takes it away."""
        if head is not None and head.version_id is not None:
            self.world.versions[key, head.version_id] = value

    async def prune(self) -> None:
        """Take an older version away for good. It is never the current one: that one's id is seen
        after the version was made, and no id comes back.
        """
        held = self.world.versions
        if not held:
            return
        key, version_id = self.rng.choice(sorted(held))
        head = await self._head(key)
        if head is None or head.version_id == version_id:
            return
        # From here on it may be gone, whatever is answered; None: another client is at it.
        if held.pop((key, version_id), None) is None:
            return
        try:
            await self.call(
                f"prune {key}",
                lambda g: delete_object(g.ctx(), BUCKET, key, version_id=version_id),
            )
        except Unanswered:
            return
