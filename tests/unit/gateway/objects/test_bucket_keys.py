"""Bucket keys in use, which threads that wait for a slow key service ask for as well."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from gateway.data.bucket_sealing import HeldBucketKey
from gateway.keyd.refusals import KeydUnavailable
from gateway.meta import bucket_key_rows
from gateway.model.names import BucketId
from gateway.objects import bucket_keys
from gateway.objects.bucket_keys import FAILED_S, BucketKeys
from tests.support.gateway import BUCKET, Gateway, memory_gateway


def _asked_by_a_thread(
    gateway: Gateway, ask: Callable[[BucketKeys, Any], object], meanwhile: Callable[[], None]
) -> None:
    """Have a thread ask for a key, and do something between its answer and its return."""
    keys = gateway.services.bucket_keys
    opened = gateway.services.buckets.find(BUCKET)
    assert opened is not None
    keys.forget_all()
    answered, go_on = threading.Event(), threading.Event()
    plain = keys.keys_of.bucket_sealer

    def slow(*fields: Any) -> object:
        sealer = plain(*fields)
        answered.set()
        assert go_on.wait(30)
        return sealer

    keys.keys_of.bucket_sealer = slow  # type: ignore[method-assign, assignment]
    thread = threading.Thread(target=ask, args=(keys, opened.bucket))
    thread.start()
    assert answered.wait(30)
    keys.keys_of.bucket_sealer = plain  # type: ignore[method-assign]
    meanwhile()
    go_on.set()
    thread.join()


@pytest.mark.parametrize("what", ["sealer", "cipher"])
def test_a_key_that_was_disabled_while_a_thread_asked_for_it_is_not_kept(what: str) -> None:
    def ask(keys: BucketKeys, bucket: Any) -> object:
        of = keys.sealer if what == "sealer" else keys.records.bucket
        return of(bucket.bucket_id, bucket.key_epoch)

    async def main() -> None:
        async with memory_gateway() as gateway:
            keys = gateway.services.bucket_keys
            _asked_by_a_thread(gateway, ask, keys.forget_all)
            assert not keys._held
            assert not keys.records._ciphers
            _asked_by_a_thread(gateway, ask, lambda: None)
            assert keys._held

    asyncio.run(main())


class Away:
    """A key service that is away, asked apart; what it was asked for."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []

    async def apart(self, call: Callable[[], Any], *, is_long: bool = False) -> Any:
        return call()

    def bucket_sealer(self, tenant: bytes, bucket: bytes, *fields: object) -> HeldBucketKey:
        self.asked.append(bucket)
        raise KeydUnavailable(reason="away")


def test_a_key_whose_time_is_over_is_not_asked_for_where_everybody_waits() -> None:
    """It could not be had just now: `sealer`, which blocks, fails at once."""

    async def main() -> None:
        async with memory_gateway() as gateway:
            keys, away = gateway.services.bucket_keys, Away()
            opened = gateway.services.buckets.find(BUCKET)
            assert opened is not None
            bucket, epoch = opened.bucket.bucket_id, opened.bucket.key_epoch
            keys.sealer(bucket, epoch)
            keys._asked = keys.keys_of = away  # type: ignore[assignment]
            keys._held[bucket, epoch] = (0.0, 0.0, keys._held[bucket, epoch][2])
            await keys.warm(bucket)
            assert away.asked == [bucket]
            with pytest.raises(KeydUnavailable):
                keys.sealer(bucket, epoch)
            assert away.asked == [bucket], "the event loop would have waited"
            assert keys._warm[bucket] <= gateway.services.env.monotonic_s() + FAILED_S

    asyncio.run(main())


def test_keys_that_could_not_be_had_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many buckets a key service does not answer for: no look goes over all of them."""

    async def main() -> None:
        async with memory_gateway() as gateway:
            keys, away = gateway.services.bucket_keys, Away()
            opened = gateway.services.buckets.find(BUCKET)
            assert opened is not None
            held = bucket_key_rows.scan_bucket_keys(
                gateway.log, keys.records, opened.bucket.bucket_id
            )
            keys.forget_all()
            keys._asked = keys.keys_of = away  # type: ignore[assignment]
            monkeypatch.setattr(bucket_key_rows, "scan_bucket_keys", lambda *_: held)
            monkeypatch.setattr(bucket_keys, "FAILED_S", 0.0)
            for number in range(50):
                await keys.warm(BucketId(number.to_bytes(16, "big")))
            assert len(away.asked) == 50 and len(keys._failed) <= 1

    asyncio.run(main())


def test_keys_can_be_dropped_while_threads_ask_for_them(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with memory_gateway() as gateway:
            keys, stop, failed = gateway.services.bucket_keys, threading.Event(), []
            monkeypatch.setattr(bucket_key_rows, "read_bucket_key", lambda *_: None)
            monkeypatch.setattr(keys, "_opened", lambda *_: HeldBucketKey(bytes(32)))

            def ask() -> None:
                try:
                    while not stop.is_set():
                        for number in range(200):
                            keys.records.bucket(BucketId(number.to_bytes(16, "big")), 1)
                except Exception as error:
                    failed.append(error)

            interval = sys.getswitchinterval()
            sys.setswitchinterval(1e-6)
            threads = [threading.Thread(target=ask) for _ in range(2)]
            for thread in threads:
                thread.start()
            try:
                for number in range(3000):
                    keys.forget_all()
                    keys.forget(BucketId((number % 200).to_bytes(16, "big")))
            finally:
                stop.set()
                for thread in threads:
                    thread.join()
                sys.setswitchinterval(interval)
            assert not failed

    asyncio.run(main())
