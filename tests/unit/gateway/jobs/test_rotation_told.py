"""What a tenant's journal is told of rotations of keys (C9, L-03): epochs before they take effect,
and the end once, wherever a process dies.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.commit.change import Change, Committed
from gateway.jobs.rotation import IDLE_S, KeyRotation
from gateway.journal.events import Entry, Event, Phase, read_line
from gateway.journal.key_events import ACTIVE, DECRYPT_ONLY, ROTATED, TYPES
from gateway.journal.store import JournalUnavailable, read_lines
from gateway.meta import rotations
from gateway.meta.kv import BatchConflict
from gateway.objects import rotation_told
from gateway.objects.key_rotation import rotate_bucket_key, rotate_tenant_key
from gateway.objects.named_keys import create_named_key
from gateway.objects.named_rotation import rotate_named_key
from gateway.objects.values import PutOptions
from tests.support.erasure_rig import ErasureRig, run
from tests.support.gateway import BUCKET, TENANT
from tests.support.named_rotations import BY_NAME, NAME, name_states
from tests.support.rotations import bucket_of, epochs_of_rows, states_of, to_the_end

pytestmark = pytest.mark.proves("C9", "L-01", "L-03")

ALL = [ACTIVE, DECRYPT_ONLY, ROTATED]


class Died(Exception):
    """The process is gone."""


async def told(rig: ErasureRig) -> list[Entry]:
    """Events about keys in the tenant's log."""
    journal = rig.gateway.services.journal
    assert journal is not None
    await journal.checkpoint(None)
    assert not [one for one in _entries(rig, "cluster") if one.type in TYPES]
    return [one for one in _entries(rig, TENANT.hex()) if one.type in TYPES]


def _entries(rig: ErasureRig, log: str) -> list[Entry]:
    journal = rig.gateway.services.journal
    assert journal is not None
    if log not in journal.logs():
        return []
    found = read_lines(journal.folder / "logs" / log, 0, 10_000)
    return [read_line(line, seq) for seq, line in enumerate(found)]


async def begin(rig: ErasureRig, kind: str) -> None:
    services = rig.gateway.services
    if kind == rotations.TENANT:
        await rotate_tenant_key(services, TENANT, 0)
    elif kind == rotations.NAMED:
        await create_named_key(services, TENANT, NAME)
        await rotate_named_key(services, TENANT, NAME, 0)
    else:
        await rotate_bucket_key(services, bucket_of(rig.gateway).bucket_id, 0)


async def put_one(rig: ErasureRig, kind: str) -> None:
    if kind == rotations.NAMED:
        await create_named_key(rig.gateway.services, TENANT, NAME)
    chosen = PutOptions(encryption=BY_NAME if kind == rotations.NAMED else None)
    await rig.gateway.put("k", b"x", chosen)


def states_by(rig: ErasureRig, kind: str) -> list[str]:
    if kind == rotations.BUCKET:
        return states_of(rig.gateway)
    if kind == rotations.NAMED:
        return name_states(rig.gateway)
    return [about.state.value for about in rig.keyring.tenant_epochs(TENANT)]


def test_epochs_and_the_end_of_a_buckets_rotation_are_told(tmp_path: Path) -> None:
    async def scene(rig: ErasureRig) -> None:
        for at in range(20):
            await rig.gateway.put(f"canary-{at}", b"x")
        await begin(rig, rotations.BUCKET)
        assert [one.type for one in await told(rig)] == [ACTIVE], "before any row is written"
        await to_the_end(rig.gateway)
        active, retired, ended = await told(rig)
        assert [one.type for one in (active, retired, ended)] == ALL
        bucket_id = bucket_of(rig.gateway).bucket_id.hex()
        assert all(one.body["bucket_id"] == bucket_id for one in (active, retired, ended))
        assert (active.phase, active.body["epoch"]) == ("intent", 2)
        assert (retired.phase, retired.body["epochs"]) == ("intent", "1")
        report = rotations.scan_reports(rig.gateway.log, rig.gateway.services.records, limit=9)[0]
        assert (ended.phase, ended.body["outcome"]) == ("outcome", "complete")
        assert ended.body["rewrapped"] == report.done == 20
        assert (ended.body["unreadable"], ended.body["epoch"]) == (0, 2)
        assert str(ended.body["rows"]).endswith("=20")
        assert not rotations.scan_claims(rig.gateway.log, rig.gateway.services.records, limit=9)
        for path in tmp_path.rglob("*.events"):
            content = path.read_bytes()
            assert b"canary" not in content and f'"{BUCKET}"'.encode() not in content.replace(
                b'"key_of":"bucket"', b""
            ).replace(b'"bucket":', b"")

    run(tmp_path, scene)


def test_epochs_and_the_end_of_a_tenants_rotation_are_told(tmp_path: Path) -> None:
    async def scene(rig: ErasureRig) -> None:
        await begin(rig, rotations.TENANT)
        await to_the_end(rig.gateway)
        found = await told(rig)
        assert [one.type for one in found] == ALL
        assert all(one.body["tenant_id"] == TENANT.hex() for one in found)
        assert found[2].body["rows"] == "bucket-keys=1"

    run(tmp_path, scene)


def test_epochs_and_the_end_of_a_named_keys_rotation_are_told(tmp_path: Path) -> None:
    async def scene(rig: ErasureRig) -> None:
        await put_one(rig, rotations.NAMED)
        await begin(rig, rotations.NAMED)
        assert [one.type for one in await told(rig)] == [ACTIVE]
        await to_the_end(rig.gateway)
        found = await told(rig)
        assert [one.type for one in found] == ALL
        owner = rotations.named_owner(TENANT, NAME).hex()
        assert {(one.body["key_of"], one.body["named_key_id"]) for one in found} == {
            ("named-key", owner)
        }
        assert found[2].body["rows"] == "current=1"

    run(tmp_path, scene)


@pytest.mark.parametrize("kind", [rotations.BUCKET, rotations.TENANT, rotations.NAMED])
def test_jrn_02_what_the_journal_refuses_does_not_take_effect(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(rig: ErasureRig) -> None:
        journal = rig.gateway.services.journal
        assert journal is not None
        await put_one(rig, kind)

        async def full(log: str, event: Event) -> None:
            raise JournalUnavailable(reason="No space left on device")

        monkeypatch.setattr(journal, "record", full)
        with pytest.raises(JournalUnavailable):
            await begin(rig, kind)
        assert states_by(rig, kind).count("ACTIVE") == 1
        monkeypatch.undo()
        job = KeyRotation(rig.gateway.services)
        if kind == rotations.BUCKET:
            await begin(rig, kind)
        else:
            await job.step()  # it was begun, and only now becomes active
        assert states_by(rig, kind) == ["ACTIVE", "ACTIVE"]
        monkeypatch.setattr(journal, "record", full)
        await to_the_end(rig.gateway, job)
        assert states_by(rig, kind) == ["ACTIVE", "ACTIVE"], "it waits"
        assert "waits" in job.progress().detail and "journal" in job.progress().detail
        assert set(epochs_of_rows(rig.gateway)) == {2 if kind == rotations.BUCKET else 1}
        monkeypatch.undo()
        await to_the_end(rig.gateway)
        assert states_by(rig, kind) == ["DECRYPT_ONLY", "ACTIVE"]
        assert [one.type for one in await told(rig)] == ALL

    run(tmp_path, scene)


def test_an_end_that_the_journal_refuses_is_told_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(rig: ErasureRig) -> None:
        journal = rig.gateway.services.journal
        assert journal is not None
        record = journal.record

        async def partly(log: str, event: Event) -> None:
            if event.type == ROTATED:
                raise JournalUnavailable(reason="No space left on device")
            await record(log, event)

        monkeypatch.setattr(journal, "record", partly)
        await begin(rig, rotations.BUCKET)
        job = await to_the_end(rig.gateway)
        assert "not in the journal yet" in job.progress().detail
        assert [one.type for one in await told(rig)] == ALL[:2]
        monkeypatch.undo()
        assert await job.step() == IDLE_S
        assert [one.type for one in await told(rig)] == ALL

    run(tmp_path, scene)


def test_an_end_that_cannot_be_looked_for_holds_up_no_rotation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the log of one tenant, say: rotations of others go on."""

    async def scene(rig: ErasureRig) -> None:
        def unread(folder: Path, first: int, count: int) -> Iterator[bytes]:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        await begin(rig, rotations.BUCKET)
        monkeypatch.setattr(rotation_told, "read_lines", unread)
        job = await to_the_end(rig.gateway)
        journal = rig.gateway.services.journal
        assert journal is not None  # something is behind what the claim has seen
        await journal.record(TENANT.hex(), Event(0, "test", Phase.NOTE, {}))
        await begin(rig, rotations.TENANT)
        await to_the_end(rig.gateway, job)
        assert states_by(rig, rotations.TENANT) == ["DECRYPT_ONLY", "ACTIVE"]
        monkeypatch.undo()
        await to_the_end(rig.gateway, job)
        assert [one.type for one in await told(rig)].count(ROTATED) == 2

    run(tmp_path, scene)


def test_a_bucket_that_changes_meanwhile_makes_no_epoch_active_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scene(rig: ErasureRig) -> None:
        gateway, tries = rig.gateway, 0
        commit = gateway.log.commit_change

        async def conflicting(change: Change) -> Committed:
            nonlocal tries
            tries += 1
            if tries < 4:
                raise BatchConflict(check=0)
            return await commit(change)

        monkeypatch.setattr(gateway.log, "commit_change", conflicting)
        await begin(rig, rotations.BUCKET)
        assert tries == 4 and states_of(gateway) == ["ACTIVE", "ACTIVE"]
        assert [one.type for one in await told(rig)] == [ACTIVE]

    run(tmp_path, scene)


@pytest.mark.parametrize("kind", [rotations.BUCKET, rotations.TENANT, rotations.NAMED])
@pytest.mark.parametrize("is_after", [False, True])
def test_a_crash_anywhere_loses_no_end_and_tells_none_twice(
    tmp_path: Path, kind: str, is_after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each event and each change, before and after it, until a rotation has fewer of them."""

    async def scene(rig: ErasureRig) -> None:
        gateway, journal = rig.gateway, rig.gateway.services.journal
        assert journal is not None
        await put_one(rig, kind)
        for rounds in range(1, 100):
            left = rounds

            def dying(do: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
                async def called(*args: object, **named: object) -> Any:
                    nonlocal left
                    left -= 1
                    if left == 0 and not is_after:
                        raise Died
                    done = await do(*args, **named)
                    if left == 0:
                        raise Died
                    return done

                return called

            held = len(await told(rig))
            await begin(rig, kind)
            with monkeypatch.context() as patch:
                patch.setattr(journal, "record", dying(journal.record))
                patch.setattr(gateway.log, "commit_change", dying(gateway.log.commit_change))
                with contextlib.suppress(Died):
                    await to_the_end(gateway)
            await to_the_end(gateway, KeyRotation(gateway.services))
            more = [one.type for one in (await told(rig))[held:]]
            assert more.count(ROTATED) == 1, (rounds, more)
            assert 1 <= more.count(DECRYPT_ONLY) <= 2 and more[0] == ACTIVE
            assert more.index(DECRYPT_ONLY) < more.index(ROTATED)
            if left > 0:
                assert rounds > 4
                return
        raise AssertionError("a rotation never ends")

    run(tmp_path, scene)


def test_without_a_journal_keys_are_rotated_as_before(tmp_path: Path) -> None:
    async def scene(rig: ErasureRig) -> None:
        rig.gateway.services.journal = None
        await begin(rig, rotations.BUCKET)
        await to_the_end(rig.gateway)
        assert states_of(rig.gateway) == ["DECRYPT_ONLY", "ACTIVE"]
        assert not rotations.scan_claims(rig.gateway.log, rig.gateway.services.records, limit=9)

    run(tmp_path, scene)
