"""Keys that take long: who needs them waits, and nobody else; shown by what goes on meanwhile."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.data.envelope import DEK_LABEL
from gateway.data.keyring import FileKeyring
from gateway.keyd.client import KeydClient
from gateway.keyd.keys import KeydKeys
from gateway.keyd.refusals import KeydUnavailable
from gateway.keyd.wire import Value, Verb, encode_fields
from gateway.metrics import S3Metrics
from gateway.model.key_states import FIRST_EPOCH
from gateway.objects import buckets, credential_rows
from gateway.objects.context import Services
from gateway.objects.credentials import Credentials
from gateway.objects.warming import warm_bucket
from gateway.s3 import http
from gateway.s3.http import FrontendConfig, S3Frontend
from storaged.base.env import RealEnv
from tests.support.gateway import ACCESS_KEY, SECRET, TENANT, Gateway, memory_gateway
from tests.support.keyd_rig import SECRET as KEYD_SECRET
from tests.support.keyd_rig import KeydRig
from tests.support.raw_s3 import Credentials as Signer
from tests.support.raw_s3 import RawClient

SLOW, FAST = b"s" * 16, b"f" * 16
BUCKET = b"b" * 16
CONTEXT = b"where"
PATIENCE_S = 20.0


class Held(FileKeyring):
    """A provider that opens bucket keys of some tenants or buckets only when it is let."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.slow: set[bytes] = set()
        self.open = threading.Event()
        self.reached = threading.Event()

    def unwrap_bucket_key(
        self,
        tenant_id: bytes,
        bucket_id: bytes,
        epoch: int,
        wrapped: bytes,
        tenant_epoch: int = FIRST_EPOCH,
    ) -> bytes:
        if {tenant_id, bucket_id} & self.slow:
            self.reached.set()
            self.open.wait(PATIENCE_S)
        return super().unwrap_bucket_key(tenant_id, bucket_id, epoch, wrapped, tenant_epoch)


@contextmanager
def slow_keyd(
    folder: Path, deadline_s: float = PATIENCE_S
) -> Iterator[tuple[Held, KeydRig, KeydKeys]]:
    env = RealEnv(threads_max=4)
    held = Held(folder, KEYD_SECRET, env)
    rig = KeydRig(held, folder / "s", env, is_slow=True)
    rig.start()
    keys = KeydKeys(rig.client(env, deadline_s), env, cache_s=300.0)
    try:
        yield held, rig, keys
    finally:
        held.open.set()
        keys.close()
        rig.stop()
        env.close()


async def until(event: threading.Event) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not event.is_set():
            await asyncio.sleep(0.001)


@pytest.mark.proves("CRY-14")
def test_a_key_that_takes_long_is_waited_for_by_who_needs_it(tmp_path: Path) -> None:
    with slow_keyd(tmp_path) as (held, rig, keys):
        wrapped = {}
        for tenant in (SLOW, FAST):
            keys.create_tenant_key(tenant)
            wrapped[tenant] = keys.new_bucket_key(tenant, BUCKET, 1, 1)
        fast = keys.bucket_sealer(FAST, BUCKET, 1, wrapped[FAST], 1)
        record = fast.seal(DEK_LABEL, CONTEXT, b"d" * 32, os.urandom(24))
        other = keys.bucket_sealer(FAST, BUCKET, 1, wrapped[FAST], 1)
        held.slow = {SLOW}

        async def main() -> None:
            slow = asyncio.create_task(
                keys.apart(lambda: keys.bucket_sealer(SLOW, BUCKET, 1, wrapped[SLOW], 1))
            )
            await until(held.reached)
            for _ in range(20):
                found = await keys.apart(lambda: other.open(DEK_LABEL, CONTEXT, record))
                assert found == b"d" * 32
            assert not slow.done()
            held.open.set()
            sealer = await slow
            assert sealer.seal(DEK_LABEL, CONTEXT, b"e" * 32, os.urandom(24))

        before = rig.service.calls["open_bucket_key"]
        asyncio.run(main())
        # What was asked for in haste is the call that was waited for.
        assert rig.service.calls["open_bucket_key"] == before + 1


def test_a_key_that_takes_too_long_is_no_reason_to_give_up_the_service(tmp_path: Path) -> None:
    with slow_keyd(tmp_path, deadline_s=0.3) as (held, _, keys):
        keys.create_tenant_key(SLOW)
        wrapped = keys.new_bucket_key(SLOW, BUCKET, 1, 1)
        held.slow = {SLOW}

        async def main() -> None:
            with pytest.raises(KeydUnavailable):
                await keys.apart(lambda: keys.bucket_sealer(SLOW, BUCKET, 1, wrapped, 1))

        asyncio.run(main())
        assert held.reached.is_set() and not keys.client.is_down
        assert keys.status()["provider"] == "file"


def test_a_key_in_use_is_opened_anew_before_its_time_is_over(tmp_path: Path) -> None:
    env = RealEnv(threads_max=1)
    held = Held(tmp_path, KEYD_SECRET, env)
    now_s = [1000.0]
    rig = KeydRig(held, tmp_path / "s", env)
    rig.service._env = type("Set", (), {"monotonic_s": lambda _: now_s[0]})()
    held.create_tenant_key(FAST)
    ref: list[Value] = [FAST, BUCKET, 1, 1, held.wrap_bucket_key(FAST, BUCKET, 1, b"k" * 32)]
    asked = encode_fields("bbiib", ref)
    key = rig.service.answer(Verb.OPEN_BUCKET_KEY, asked)
    assert rig.service.is_warm(Verb.OPEN_BUCKET_KEY, asked)
    now_s[0] += 200.0
    # It still opens what lies under it at once; who asks for the key itself has it opened anew.
    assert rig.service.is_warm(Verb.OPEN_WINDOW, asked)
    assert not rig.service.is_warm(Verb.OPEN_BUCKET_KEY, asked)
    assert rig.service.answer(Verb.OPEN_BUCKET_KEY, asked) == key
    now_s[0] += 200.0
    assert rig.service.is_warm(Verb.OPEN_WINDOW, asked)
    now_s[0] += 101.0
    assert not rig.service.is_warm(Verb.OPEN_WINDOW, asked)
    env.close()


COLD = (
    ("PUT", "/bucket/one"),
    ("GET", "/bucket/one"),
    ("HEAD", "/bucket/one"),
    ("GET", "/bucket?list-type=2"),
    ("PUT", "/made-here"),
    ("DELETE", "/bucket/one"),
)


async def sealed_gateway(gateway: Gateway, keys: KeydKeys) -> bytes:
    """Access keys sealed, an object in each of two buckets, nothing in use; the id of "slow"."""
    services = gateway.services
    await buckets.create_bucket(gateway.ctx(), "slow", "fr")
    parts = (gateway.log, services.records, services.nonces, keys, services.env)
    await credential_rows.seal_stored(*parts)
    keeper = credential_rows.keeper_of(keys, services.env)
    services.credentials = Credentials(gateway.log, services.records, services.env, keeper)
    for name in ("bucket", "slow"):
        await gateway.put("key", b"body" * 100, bucket=name)
    forget(gateway)
    slow = services.buckets.find("slow")
    assert slow is not None
    return bytes(slow.bucket.bucket_id)


def forget(gateway: Gateway) -> None:
    """As after a start."""
    services = gateway.services
    services.bucket_keys.forget_all()
    services.opened._held.clear()
    services.credentials._held.clear()
    services.credentials._days.clear()


class Asking:
    """Requests from threads, to a gateway's endpoint."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __call__(self, method: str, path: str, body: bytes = b"") -> tuple[int, bytes]:
        def ask() -> tuple[int, bytes]:
            with RawClient("127.0.0.1", self._port, Signer(ACCESS_KEY, SECRET, "fr")) as client:
                answer = client.request(method, path, body)
                return answer.status, answer.body

        return await asyncio.to_thread(ask)


@pytest.mark.proves("CRY-14")
def test_requests_go_on_while_the_key_of_another_bucket_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over HTTP, with everything cold: no call waits on the event loop."""
    waits: list[str] = []
    call = KeydClient._call

    async def main(held: Held, rig: KeydRig, keys: KeydKeys) -> None:
        env, loop_thread = RealEnv(threads_max=4), threading.get_ident()

        def watched(self: KeydClient, verb: Verb, payload: bytes) -> bytes:
            if threading.get_ident() == loop_thread and not self._here.is_hasty:
                waits.append(verb.name)
            return call(self, verb, payload)

        keys.create_tenant_key(TENANT)
        async with memory_gateway(env=env, keyring=keys) as gateway:
            held.slow = {await sealed_gateway(gateway, keys)}
            config = FrontendConfig(regions=("fr",))
            frontend = S3Frontend(gateway.services, config, S3Metrics())
            ask = Asking(await frontend.start("127.0.0.1", 0))
            rig.service._open.clear()
            monkeypatch.setattr(KeydClient, "_call", watched)
            waiting = [
                asyncio.create_task(ask("GET", "/slow/key")),
                asyncio.create_task(ask("PUT", "/slow/other", b"x")),
            ]
            await until(held.reached)
            # A device does one thing after the other: what it has to open comes behind.
            behind = asyncio.create_task(ask("GET", "/bucket/key"))
            for _ in range(5):
                assert (await ask("GET", "/"))[0] == 200
            assert not any(one.done() for one in (*waiting, behind))
            held.open.set()
            assert [(await one)[0] for one in waiting] == [200, 200]
            assert await behind == (200, b"body" * 100)
            for method, path in COLD:
                forget(gateway)
                assert (await ask(method, path))[0] in (200, 204), (method, path)
            await frontend.stop(1.0)
        env.close()

    with slow_keyd(tmp_path) as (held, rig, keys):
        asyncio.run(main(held, rig, keys))
    assert waits == []


def test_a_request_whose_keys_are_in_use_does_not_look_for_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a key service costs a warm request is a look into a dictionary."""
    looks: list[str] = []

    async def counted(services: Services, name: str) -> None:
        looks.append(name)
        await warm_bucket(services, name)

    monkeypatch.setattr(http, "warm_bucket", counted)

    async def main(keys: KeydKeys) -> None:
        env = RealEnv(threads_max=4)
        keys.create_tenant_key(TENANT)
        async with memory_gateway(env=env, keyring=keys) as gateway:
            await sealed_gateway(gateway, keys)
            frontend = S3Frontend(gateway.services, FrontendConfig(regions=("fr",)), S3Metrics())
            ask = Asking(await frontend.start("127.0.0.1", 0))
            for path in ("/bucket/key", "/bucket/key", "/slow/key", "/bucket/key", "/slow/key"):
                assert (await ask("GET", path))[0] == 200
            assert looks == ["bucket", "slow"]
            forget(gateway)
            assert (await ask("GET", "/bucket/key"))[0] == 200
            bucket_keys = gateway.services.bucket_keys
            bucket_keys.warm_names["bucket"] = env.monotonic_s()  # its time is over
            assert (await ask("GET", "/bucket/key"))[0] == 200
            assert looks[2:] == ["bucket", "bucket"]
            assert (await ask("GET", "/nothing-here/key"))[0] == 404
            assert "nothing-here" not in bucket_keys.warm_names
            await frontend.stop(1.0)
        env.close()

    with slow_keyd(tmp_path) as (_, _, keys):
        asyncio.run(main(keys))
