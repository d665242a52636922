"""Clients: what they call, what they write down about it, and what no answer may ever say."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any, TypeVar

from gateway.model.errors import NoSuchKey, PreconditionFailed
from gateway.objects.complete import complete_upload
from gateway.objects.copy import copy_object
from gateway.objects.delete import delete_object
from gateway.objects.get import get_object
from gateway.objects.list import list_objects
from gateway.objects.multipart import abort_upload, create_upload, upload_part
from gateway.objects.put import put_object
from gateway.objects.values import (
    CompleteOptions,
    CompletePart,
    CopyOptions,
    CopySource,
    CreateUploadOptions,
    GetOptions,
    ListOptions,
    ListPage,
    Metadata,
    ObjectHead,
    PutOptions,
    WriteConditions,
)
from storaged.base.errors import Kind, StorageError
from tests.sim.history import (
    Operation,
    Steps,
    Value,
    sees,
    sees_other_than,
    swaps,
    writes,
)
from tests.sim.process import GatewayProcess
from tests.sim.world import World
from tests.support.gateway import BUCKET, BytesBody, content_of

T = TypeVar("T")

KEYS = ("a", "a/1", "b", "b/2/x", "é")
CALL_S = 45.0
WRONG = frozenset({Kind.INVALID, Kind.CORRUPT, Kind.NOT_FOUND, Kind.PRECONDITION})
SIZE_MAX = 300_000


class Unanswered(Exception):
    """The call was cut, or its answer does not say whether it happened."""


class Bodies:
    """Unique bodies by number, with every ETag an object made of them can have."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.sizes: dict[int, int] = {}
        self.by_etag: dict[str, set[int]] = {}
        self.etags: dict[int, set[str]] = {}

    def make(self, size: int) -> int:
        """The number of a fresh body."""
        value = len(self.sizes) + 1
        self.sizes[value] = size
        self.know(value, hashlib.md5(self.content(value)).hexdigest())
        return value

    def know(self, value: int, etag: str) -> None:
        """An object with this body may have this ETag."""
        self.by_etag.setdefault(etag, set()).add(value)
        self.etags.setdefault(value, set()).add(etag)

    def content(self, value: int) -> bytes:
        """The bytes of a body."""
        return Random(f"{self._seed}.{value}").randbytes(self.sizes[value])


class Client:
    """One client, one call at a time."""

    def __init__(self, world: World, bodies: Bodies, name: str) -> None:
        self.world = world
        self.bodies = bodies
        self.name = name
        self.rng = Random(world.rng.random())
        self.strict = False  # after the faults: nothing may fail

    async def run(self, count: int, pause_s: float) -> None:
        """Make `count` calls."""
        calls: tuple[tuple[Callable[[], Awaitable[object]], int], ...] = (
            (self.put, 30),
            (self.get, 26),
            (self.put_if, 12),
            (self.delete, 10),
            (self.copy, 6),
            (self.list_all, 8),
            (self.multipart, 6),
            (self.get_range, 5),
        )
        verbs, weights = zip(*calls, strict=True)
        for _ in range(count):
            await asyncio.sleep(self.rng.expovariate(1 / pause_s))
            await self.rng.choices(verbs, weights)[0]()

    # Calls

    async def call(
        self,
        what: str,
        make: Callable[[GatewayProcess], Awaitable[T]],
        *expected: type[StorageError],
        gateway: GatewayProcess | None = None,
    ) -> T:
        """Call the gateway that serves.

        Raises:
            Unanswered: it may have happened. Errors of the classes `expected`, and those that
            prove that nothing happened, as they are.
        """
        world = self.world
        gateway = gateway or await world.serving()
        task = world.loop.spawn(gateway.owner, _within(make, gateway))
        patience_s = CALL_S if self.strict or self.rng.random() < 0.96 else self.rng.random() * 0.05
        done, _ = await asyncio.wait({task}, timeout=patience_s)
        if not done:
            task.cancel()
            await asyncio.wait({task})
        if task.cancelled():
            world.trace(f"{self.name} {what} -> cut")
            raise Unanswered
        error = task.exception()
        world.counts["calls"] += 1
        if error is None:
            world.trace(f"{self.name} {what} -> ok")
            return task.result()
        world.trace(f"{self.name} {what} -> {type(error).__name__}")
        if isinstance(error, expected):
            raise error
        if not isinstance(error, StorageError):
            world.violate(f"{what} raised {type(error).__name__}: {error}")
            raise Unanswered from error
        if self.strict or (error.kind in WRONG and not _is_of_faults(error)):
            world.violate(f"{what} was answered with {type(error).__name__}: {error}")
        raise Unanswered from error

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

    def _key(self) -> str:
        return self.rng.choice(KEYS)

    def _body(self, value: int) -> BytesBody:
        return BytesBody(self.bodies.content(value), piece_bytes=self.rng.choice((7000, 65_536)))

    def _options(self, value: int, **more: Any) -> PutOptions:
        return PutOptions(metadata=Metadata(user=(("v", str(value)),)), **more)

    async def put(self, gateway: GatewayProcess | None = None) -> None:
        """An unconditional PUT."""
        key, value = self._key(), self.bodies.make(self._size())
        await self.write(
            key,
            f"put {value}",
            writes(value),
            lambda g: put_object(g.ctx(), BUCKET, key, self._body(value), self._options(value)),
            gateway=gateway,
        )

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
            head = await self.call(
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
            value = self._value_of(head)
            history.end(seen, sees(value), f" {value}")
            history.end(onto, writes(value), f" {value}")

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
        await self.write(
            key,
            f"complete {value}",
            writes(value),
            lambda g: complete_upload(
                g.ctx(), BUCKET, key, made.upload_id, parts, CompleteOptions()
            ),
        )

    # Reads

    async def _head(self, key: str) -> ObjectHead | None:
        """What a GET that is closed at once tells; None where nothing is known or there."""
        history = self.world.history
        operation = history.begin(key, f"{self.name} head", sees())

        async def head(g: GatewayProcess) -> ObjectHead:
            found = await get_object(g.ctx(), BUCKET, key, GetOptions())
            assert found.body is not None
            await found.body.aclose()
            return found.head

        try:
            found = await self.call(f"head {key}", head, NoSuchKey)
        except NoSuchKey:
            history.end(operation, sees(None), " none")
            return None
        except Unanswered:
            history.void(key, operation)
            return None
        value = self._value_of(found)
        history.end(operation, sees(value), f" {value}")
        return found

    async def get(self, key: str | None = None) -> Value:
        """A GET of the whole object."""
        key = key or self._key()
        history = self.world.history
        operation = history.begin(key, f"{self.name} get", sees())

        async def read(g: GatewayProcess) -> tuple[ObjectHead, bytes]:
            found = await get_object(g.ctx(), BUCKET, key, GetOptions())
            return found.head, await content_of(found)

        try:
            head, content = await self.call(f"get {key}", read, NoSuchKey)
        except NoSuchKey:
            history.end(operation, sees(None), " none")
            return None
        except Unanswered:
            history.void(key, operation)
            return None
        value = self._value_of(head)
        if content != self.bodies.content(value):
            self.world.violate(f"get {key}: wrong bytes for body {value}")
        history.end(operation, sees(value), f" {value}")
        return value

    async def get_range(self) -> None:
        """A GET of a range."""
        key = self._key()
        first = self.rng.choice((0, 1, 60, self.rng.randint(0, 70_000)))
        length = self.rng.choice((1, 100, 70_000))

        async def read(g: GatewayProcess) -> tuple[ObjectHead, bytes]:
            asked = GetOptions(range_header=f"bytes={first}-{first + length - 1}")
            found = await get_object(g.ctx(), BUCKET, key, asked)
            return found.head, await content_of(found)

        try:
            head, content = await self.call(f"range {key}", read, StorageError)
        except (Unanswered, StorageError):
            return
        value = self._value_of(head)
        if content != self.bodies.content(value)[first : first + length]:
            self.world.violate(f"range of {key}: wrong bytes for body {value}")

    async def list_all(self) -> None:
        """A LIST in pages."""
        history = self.world.history
        looks = {key: history.begin(key, f"{self.name} list", sees()) for key in KEYS}
        options = ListOptions(keys_max=self.rng.choice((1, 2, 1000)))
        found: list[tuple[str, str, int]] = []
        try:
            while True:
                page = await self._page(options)
                found += [(entry.key, entry.etag, entry.length) for entry in page.entries]
                if page.next_token is None:
                    break
                options = ListOptions(keys_max=options.keys_max, token=page.next_token)
        except Unanswered:
            for key, look in looks.items():
                history.void(key, look)
            return
        names = [key.encode() for key, _, _ in found]
        if names != sorted(set(names)):
            self.world.violate(f"list is out of order or repeats: {names}")
        listed = {key: (etag, length) for key, etag, length in found}
        for key, look in looks.items():
            if key not in listed:
                history.end(look, sees(None), " none")
                continue
            etag, length = listed[key]
            values = self.bodies.by_etag.get(etag, set())
            if not values or any(self.bodies.sizes[v] != length for v in values):
                self.world.violate(f"list of {key}: unknown ETag {etag} or length {length}")
            history.end(look, sees(*values), f" {sorted(values)}")

    async def _page(self, options: ListOptions) -> ListPage:
        return await self.call("list", lambda g: list_objects(g.ctx(), BUCKET, options))

    def _value_of(self, head: ObjectHead) -> int:
        """Which body an answer names; its ETag and length must be that body's."""
        value = int(dict(head.metadata.user).get("v", "0"))
        if head.length != self.bodies.sizes.get(value) or head.etag not in self.bodies.etags[value]:
            self.world.violate(f"{head.key}: body {value} with another one's length or ETag")
        return value


async def _within(make: Callable[[GatewayProcess], Awaitable[T]], gateway: GatewayProcess) -> T:
    return await make(gateway)


def _is_of_faults(error: StorageError) -> bool:
    """Errors that faults explain although their kind speaks of the data: too few good shards while
    nodes lie or are away, and what another gateway's takeover leads to.
    """
    return type(error).__name__ in {
        "StripeCorrupt",
        "StripeGone",
        "FrameCorrupt",
    }
