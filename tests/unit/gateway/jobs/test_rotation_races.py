"""Rotations among requests, and rotations that a crash interrupts at any step (C6, CRY-16).

A run is a seed: the turns that everything takes are drawn from it.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from gateway.data.keyring import FileKeyring, RootKey
from gateway.jobs import rotation as job_module
from gateway.jobs import rotation_pace
from gateway.jobs import rotation_page as page_module
from gateway.jobs.rotation import KeyRotation
from gateway.meta import rotations
from gateway.meta.memory import MemoryStore
from gateway.model.bucket import Versioning
from gateway.model.errors import NoSuchKey
from gateway.model.key_states import KeyState
from gateway.objects import key_epochs
from gateway.objects.bootstrap import restore_keyring
from gateway.objects.buckets import create_bucket
from gateway.objects.complete import complete_upload
from gateway.objects.copy import copy_object
from gateway.objects.delete import delete_object
from gateway.objects.key_rotation import RotationUnderWay, rotate_bucket_key, rotate_tenant_key
from gateway.objects.multipart import create_upload, upload_part
from gateway.objects.rename import rename_object
from gateway.objects.tagging import put_object_tags
from gateway.objects.values import (
    CompleteOptions,
    CompletePart,
    CopyOptions,
    CopySource,
    CreateUploadOptions,
    GetOptions,
    RenameOptions,
)
from gateway.objects.versioning import set_versioning
from tests.support.annotations import annotate
from tests.support.annotations import content_of as annotation
from tests.support.cluster import memory_cluster
from tests.support.gateway import BUCKET, TENANT, BytesBody, Gateway, memory_gateway
from tests.support.log_rig import MemoryHistory
from tests.support.rotations import (
    bucket_of,
    epochs_of_rows,
    forget_all,
    rotate,
    states_of,
    to_the_end,
)
from tests.support.turn_env import TurnEnv

pytestmark = pytest.mark.proves("K-10", "C6", "CRY-16")

VERSIONED = "versioned"
SEEDS = 12
ROUNDS = 14
LARGE_BYTES = 150_000


class Crash(BaseException):
    """The process is gone."""


class Worker:
    """Requests for keys of its own, and what must be read of them."""

    def __init__(self, gateway: Gateway, rng: Random, name: str) -> None:
        self._gateway = gateway
        self._rng = rng
        self._keys = [f"{name}-{at}" for at in range(4)]
        self._content: dict[str, bytes] = {}
        self._notes: dict[str, bytes] = {}
        self._versions: list[tuple[str, str, bytes]] = []

    async def run(self) -> None:
        for _ in range(ROUNDS):
            act = self._rng.choice(
                (
                    self._put,
                    self._put,
                    self._delete,
                    self._copy,
                    self._rename,
                    self._tag,
                    self._multipart,
                    self._annotate,
                    self._version,
                    self._forget_version,
                )
            )
            await act(self._rng.choice(self._keys))

    def _body(self) -> bytes:
        return self._rng.randbytes(self._rng.choice((0, 900, LARGE_BYTES)))

    async def _put(self, key: str) -> None:
        content = self._body()
        await self._gateway.put(key, content)
        self._content[key] = content
        self._notes.pop(key, None)

    async def _delete(self, key: str) -> None:
        await delete_object(self._gateway.ctx(), BUCKET, key)
        self._content.pop(key, None)
        self._notes.pop(key, None)

    async def _copy(self, key: str) -> None:
        if key in self._content:
            other = self._rng.choice([one for one in self._keys if one != key])
            source = CopySource(bucket=BUCKET, key=key)
            options = CopyOptions(with_annotations=True)
            await copy_object(self._gateway.ctx(), source, BUCKET, other, options)
            self._content[other] = self._content[key]
            self._moved(key, other, is_copy=True)

    async def _rename(self, key: str) -> None:
        if key in self._content:
            other = self._rng.choice([one for one in self._keys if one != key])
            await rename_object(self._gateway.ctx(), BUCKET, key, other, RenameOptions())
            self._content[other] = self._content.pop(key)
            self._moved(key, other, is_copy=False)

    def _moved(self, key: str, other: str, *, is_copy: bool) -> None:
        self._notes.pop(other, None)
        if key in self._notes:
            self._notes[other] = self._notes[key] if is_copy else self._notes.pop(key)

    async def _tag(self, key: str) -> None:
        if key in self._content:
            await put_object_tags(self._gateway.ctx(), BUCKET, key, None, (("a", "b"),))

    async def _multipart(self, key: str) -> None:
        ctx = self._gateway.ctx
        made = await create_upload(ctx(), BUCKET, key, CreateUploadOptions())
        content = self._body()
        part = await upload_part(ctx(), BUCKET, key, made.upload_id, 1, BytesBody(content), None)
        done = [CompletePart(part_number=1, etag=part.etag)]
        await complete_upload(ctx(), BUCKET, key, made.upload_id, done, CompleteOptions())
        self._content[key] = content
        self._notes.pop(key, None)

    async def _annotate(self, key: str) -> None:
        if key in self._content:
            note = self._rng.randbytes(20).hex().encode()
            await annotate(self._gateway, "note", note, key=key)
            self._notes[key] = note

    async def _version(self, key: str) -> None:
        content = self._body()
        head = await self._gateway.put(key, content, bucket=VERSIONED)
        assert head.version_id is not None
        self._versions.append((key, head.version_id, content))

    async def _forget_version(self, key: str) -> None:
        if self._versions:
            at = self._rng.randrange(len(self._versions))
            key, version_id, _ = self._versions.pop(at)
            await delete_object(self._gateway.ctx(), VERSIONED, key, version_id=version_id)

    async def check(self) -> None:
        for key in self._keys:
            if key in self._content:
                assert await self._gateway.get(key) == self._content[key]
            else:
                with pytest.raises(NoSuchKey):
                    await self._gateway.get(key)
        for key, note in self._notes.items():
            assert await annotation(self._gateway, "note", key=key) == note
        for key, version_id, content in self._versions:
            options = GetOptions(version_id=version_id)
            assert await self._gateway.get(key, options, bucket=VERSIONED) == content


@pytest.mark.parametrize("seed", range(SEEDS))
def test_c6_requests_and_rotations_at_once_lose_nothing(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_module, "PAGE_ROWS", 5)
    monkeypatch.setattr(rotation_pace, "PAGE_ROWS", 5)
    monkeypatch.setattr(page_module, "LOOKED_AT_ROWS", 5)
    monkeypatch.setattr(rotation_pace, "TURN_ROWS", 2)
    monkeypatch.setattr(rotation_pace, "CALL_ROWS", 3)

    async def main() -> None:
        rng = Random(seed)
        async with memory_gateway(seed=seed + 1, env=TurnEnv(rng)) as gateway:
            gateway.services.bucket_keys.is_remote = bool(seed % 2)  # as with a key service
            await create_bucket(gateway.ctx(), VERSIONED, None)
            await set_versioning(gateway.ctx(), VERSIONED, Versioning.ENABLED)
            workers = [Worker(gateway, Random(rng.random()), f"w{at}") for at in range(4)]
            for worker in workers:
                await worker.run()
            tasks = [asyncio.ensure_future(worker.run()) for worker in workers]
            rotating = asyncio.ensure_future(_rotate_meanwhile(gateway, rng, tasks))
            await asyncio.gather(*tasks)
            for worker in workers:
                await worker.check()
            await rotating
            await to_the_end(gateway)
            for name in (BUCKET, VERSIONED):
                await _retire(gateway, name)
            forget_all(gateway)
            for worker in workers:
                await worker.check()
            assert gateway.live_bytes() == gateway.named_bytes()

    asyncio.run(asyncio.wait_for(main(), 60))


async def _rotate_meanwhile(
    gateway: Gateway, rng: Random, tasks: list[asyncio.Future[None]]
) -> None:
    """Two who rotate whatever is there and two who run the job, until the requests have ended."""

    async def begin() -> None:
        for _ in range(3):
            for name in rng.sample((BUCKET, VERSIONED), 2):
                with suppress(RotationUnderWay):
                    await rotate(gateway, name)
            with suppress(RotationUnderWay):
                await rotate_tenant_key(gateway.services, TENANT, 0)
            await gateway.services.env.sleep(1)

    async def work() -> None:
        job = KeyRotation(gateway.services)
        while not all(task.done() for task in tasks):
            await job.step()
            await asyncio.sleep(0)

    await asyncio.gather(begin(), begin(), work())


async def _retire(gateway: Gateway, name: str) -> None:
    """Destroy every epoch but the newest, which holds everything."""
    bucket = bucket_of(gateway, name)
    assert set(epochs_of_rows(gateway, name)) <= {bucket.key_epoch}
    assert states_of(gateway, name) == ["DECRYPT_ONLY"] * (bucket.key_epoch - 1) + ["ACTIVE"]
    assert bucket.key_epoch > 1
    for epoch in range(1, bucket.key_epoch):
        await key_epochs.set_bucket_epoch(gateway.services, bucket, epoch, KeyState.DISABLED)
        await key_epochs.destroy_bucket_epoch(gateway.services, bucket, epoch, forced=False)


class _Process:
    """Gateways that follow one another over what each leaves: nodes, index and keyring's file."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._cluster = memory_cluster(seed=5)
        self._index = MemoryStore(bytes(32))
        self._history = MemoryHistory()
        self.starts = 0

    def start(self):  # type: ignore[no-untyped-def]
        """The next one, as a context."""
        self.starts += 1
        keyring = FileKeyring(self._folder, RootKey(b"r" * 32), self._cluster.env)
        keyring.create_tenant_key(TENANT)
        return memory_gateway(
            cluster=self._cluster,
            index=self._index,
            history=self._history,
            keyring=keyring,
            with_bucket=self.starts == 1,
        )


def _crash_at(gateway: Gateway, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Die at the `step`-th thing that is made durable: just before it, or just after."""
    left = [step]
    log, ring = gateway.log, gateway.services.bucket_keys.provider
    commit_change, save = log.commit_change, ring._save  # type: ignore[attr-defined]

    async def commit(change):  # type: ignore[no-untyped-def]
        _tick(left)
        done = await commit_change(change)
        _tick(left)
        return done

    def saved(held) -> None:  # type: ignore[no-untyped-def]
        _tick(left)
        save(held)
        _tick(left)

    monkeypatch.setattr(log, "commit_change", commit)
    monkeypatch.setattr(ring, "_save", saved)


def _tick(left: list[int]) -> None:
    left[0] -= 1
    if left[0] == 0:
        raise Crash


def test_c6_a_crash_at_every_step_of_a_rotation_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each cluster dies one step later, and is started again; the last one comes through."""
    monkeypatch.setattr(job_module, "PAGE_ROWS", 3)
    monkeypatch.setattr(rotation_pace, "PAGE_ROWS", 3)
    content = {f"key-{at}": bytes([at]) * 900 for at in range(5)}

    async def live(process: _Process, step: int) -> bool:
        async with process.start() as gateway:
            for key, body in content.items():
                await gateway.put(key, body)
            with monkeypatch.context() as patch:
                _crash_at(gateway, step, patch)
                try:
                    await _rotate_both(gateway)
                    await to_the_end(gateway)
                except Crash:
                    return False
        return True

    async def live_on(process: _Process) -> None:
        async with process.start() as gateway:
            restore_keyring(gateway.index, gateway.services.records, _ring_of(gateway))
            for key, body in content.items():
                assert await gateway.get(key) == body
            await _rotate_both(gateway)
            await to_the_end(gateway)
            services, newest = gateway.services, bucket_of(gateway).key_epoch
            assert epochs_of_rows(gateway) == {newest: len(content)}
            assert not rotations.scan_rotations(gateway.log, services.records, limit=9)
            await _retire(gateway, BUCKET)
            held = _ring_of(gateway).tenant_epochs(TENANT)
            assert [one.state for one in held[:-1]] == [KeyState.DECRYPT_ONLY] * (len(held) - 1)
            for one in held[:-1]:
                await key_epochs.set_tenant_epoch(services, TENANT, one.epoch, KeyState.DISABLED)
                await key_epochs.destroy_tenant_epoch(services, TENANT, one.epoch, forced=False)

    async def read(process: _Process) -> None:
        async with process.start() as gateway:
            for key, body in content.items():
                assert await gateway.get(key) == body

    is_through, step = False, 0
    while not is_through:
        step += 1
        process = _Process(tmp_path / str(step))
        is_through = asyncio.run(live(process, step))
        asyncio.run(live_on(process))
        asyncio.run(read(process))
    assert step > 30


async def _rotate_both(gateway: Gateway) -> None:
    with suppress(RotationUnderWay):
        await rotate_tenant_key(gateway.services, TENANT, 0)
    with suppress(RotationUnderWay):
        await rotate_bucket_key(gateway.services, bucket_of(gateway).bucket_id, 0)


def _ring_of(gateway: Gateway) -> FileKeyring:
    ring = gateway.services.bucket_keys.provider
    assert isinstance(ring, FileKeyring)
    return ring
