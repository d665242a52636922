"""What clients know of each key, and whether what a store answers is possible.

A key has a set of possible states: one after an acknowledged write, old and new after a write whose
outcome is not known. One writer per key at a time makes this exact. Source: the set model that
docs/faults.md describes.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable
from dataclasses import dataclass, field
from random import Random

from tests.support.raw_s3 import UNSIGNED, Answer, ClosedByServer, RawClient

State = bytes | None
"""Content, or None for a key that is not there."""


@dataclass
class Model:
    """Possible states by key."""

    keys: dict[str, set[State]] = field(default_factory=dict)
    acknowledged: int = 0
    unknown: int = 0

    def possible(self, key: str) -> set[State]:
        return self.keys.get(key, {None})

    def ok(self, key: str, state: State) -> None:
        self.keys[key] = {state}
        self.acknowledged += 1

    def unsure(self, key: str, state: State) -> None:
        self.keys[key] = self.possible(key) | {state}
        self.unknown += 1

    def saw(self, key: str, state: State) -> None:
        """Raises AssertionError when no history allows this state; it is settled otherwise."""
        possible = self.possible(key)
        if state not in possible:
            raise AssertionError(
                f"{key}: {_shown(state)} is not one of {sorted(map(_shown, possible))}"
            )
        self.keys[key] = {state}


def _shown(state: State) -> str:
    if state is None:
        return "absent"
    return f"{len(state)} bytes {hashlib.sha256(state).hexdigest()[:12]}"


def put(client: RawClient, key: str, content: bytes) -> Answer:
    """PUT into the bucket; the payload is not signed, as digests of it are not what is tested."""
    return client.request("PUT", f"/bucket/{key}", content, payload=UNSIGNED)


def write(model: Model, client: RawClient, key: str, state: State) -> int:
    """PUT or DELETE a key and note what is known after it; returns the status, 0 for none."""
    try:
        if state is None:
            answer = client.request("DELETE", f"/bucket/{key}")
        else:
            answer = put(client, key, state)
    except (OSError, ClosedByServer):
        client.close()
        model.unsure(key, state)
        return 0
    if answer.status in (200, 204):
        model.ok(key, state)
    elif answer.status >= 500:
        model.unsure(key, state)
    return answer.status


def check(model: Model, client: RawClient, keys: Iterable[str] | None = None) -> int:
    """GET every key: nothing but possible states, and every answer is one; then the listing.

    Returns: objects that are there.
    """
    wanted = sorted(model.keys if keys is None else keys)
    present = []
    for key in wanted:
        answer = client.request("GET", f"/bucket/{key}")
        assert answer.status in (200, 404), (key, answer.status, answer.code)
        model.saw(key, answer.body if answer.status == 200 else None)
        if answer.status == 200:
            present.append(key)
            digest = hashlib.md5(answer.body, usedforsecurity=False).hexdigest()
            assert answer.headers["etag"] == f'"{digest}"', key
    if keys is None:
        assert listed(client) == present
    return len(present)


def listed(client: RawClient) -> list[str]:
    """All keys of the bucket, page by page."""
    keys: list[str] = []
    token = ""
    while True:
        query = "list-type=2" + (f"&start-after={token}" if token else "")
        answer = client.request("GET", f"/bucket?{query}")
        assert answer.status == 200, answer.body
        page = [part.split(b"<", 1)[0].decode() for part in answer.body.split(b"<Key>")[1:]]
        keys += page
        if b"<IsTruncated>true" not in answer.body:
            return keys
        token = page[-1]


class Load:
    """Clients that write until told to stop, each on keys of its own."""

    def __init__(self, model: Model, make_client: object, *, clients: int, seed: int) -> None:
        self._model = model
        self._make_client = make_client
        self._stopping = threading.Event()
        self.errors: list[BaseException] = []
        self._threads = [
            threading.Thread(target=self._run, args=(number, seed)) for number in range(clients)
        ]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(60)
        if self.errors:
            raise self.errors[0]

    def _run(self, number: int, seed: int) -> None:
        rng = Random(f"{seed}/{number}")
        try:
            client = self._make_client()  # type: ignore[operator]
            while not self._stopping.is_set():
                key = f"c{number:02d}-{rng.randrange(12):02d}"
                state = None if rng.random() < 0.15 else content(rng)
                if write(self._model, client, key, state) == 0:
                    return
            client.close()
        except BaseException as error:
            self.errors.append(error)


def content(rng: Random) -> bytes:
    """A body of a size that matters: empty, a block, around the border of small bodies, large."""
    size = rng.choice((0, 1, 4096, 4097, 60_000, 131_072, 131_073, 1_500_000))
    return rng.randbytes(size)
