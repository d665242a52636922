"""A client's calls, and its reads: what they write down, and what no answer may ever say."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import TypeVar

from gateway.model.errors import NoSuchKey
from gateway.objects.get import get_object
from gateway.objects.list import list_objects
from gateway.objects.values import GetOptions, ListOptions, ListPage, ObjectHead
from storaged.base.errors import Kind, StorageError
from tests.sim.bodies import Bodies
from tests.sim.history import Value, sees
from tests.sim.process import GatewayProcess
from tests.sim.world import World
from tests.support.gateway import BUCKET, content_of

T = TypeVar("T")

KEYS = ("a", "a/1", "b", "b/2/x", "é")
CALL_S = 45.0
WRONG = frozenset({Kind.INVALID, Kind.CORRUPT, Kind.NOT_FOUND, Kind.PRECONDITION})


class Unanswered(Exception):
    """The call was cut, or its answer does not say whether it happened."""


class Reader:
    """One client, one call at a time: reads.

    Attributes:
        strict: nothing may fail, for all faults are over.
    """

    def __init__(self, world: World, bodies: Bodies, name: str) -> None:
        self.world = world
        self.bodies = bodies
        self.name = name
        self.rng = Random(world.rng.random())
        self.strict = False

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

    def _key(self) -> str:
        return self.rng.choice(KEYS)

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

    async def get_version(self, key: str, version_id: str, value: int) -> None:
        """A GET of a version that must be there."""

        async def read(g: GatewayProcess) -> tuple[ObjectHead, bytes]:
            found = await get_object(g.ctx(), BUCKET, key, GetOptions(version_id=version_id))
            return found.head, await content_of(found)

        try:
            head, content = await self.call(f"get {key} {version_id}", read)
        except Unanswered:
            self.world.violate(f"version {version_id} of {key} is gone")
            return
        if self._value_of(head) != value or content != self.bodies.content(value):
            self.world.violate(f"version {version_id} of {key} is another one")

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
                found += [(entry.key, entry.etag, entry.content_bytes) for entry in page.entries]
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
