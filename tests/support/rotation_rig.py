"""Requests and processes that rotations of keys are tried with: workers whose turns are drawn from
a seed, and gateways that die at a step and are followed by others.
"""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from gateway.data.keyring import FileKeyring, RootKey
from gateway.meta.memory import MemoryStore
from gateway.model.errors import NoSuchKey
from gateway.objects.complete import complete_upload
from gateway.objects.copy import copy_object
from gateway.objects.delete import delete_object
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
from tests.support.annotations import annotate
from tests.support.annotations import content_of as annotation
from tests.support.cluster import memory_cluster
from tests.support.gateway import BUCKET, TENANT, BytesBody, Gateway, memory_gateway
from tests.support.log_rig import MemoryHistory

VERSIONED = "versioned"
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


class Process:
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


def crash_at(gateway: Gateway, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
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
