"""Rotations of named keys against what goes wrong beside them: an answer that is lost, a keyring of
before, an erasure of the tenant, a move into a token after an epoch was lost.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from gateway.data.envelope import NamedKeyDisabled
from gateway.data.keyring import FileKeyring, RootKey
from gateway.jobs import key_move
from gateway.jobs.rotation import BLOCKED_S, KeyRotation
from gateway.keyd.refusals import KeydUnavailable
from gateway.meta import rotations
from gateway.meta.kv import BatchConflict, Write
from gateway.model.key_states import KeyState
from gateway.model.names import TenantId
from gateway.objects import named_epochs, named_moving
from gateway.objects.bootstrap import restore_keyring
from gateway.objects.context import Services
from gateway.objects.key_move import InFile, KeyMove
from gateway.objects.key_rotation import commit_rows
from gateway.objects.named_moving import Looked
from gateway.objects.values import PutOptions
from tests.support.cluster import TestEnv
from tests.support.gateway import TENANT, Gateway
from tests.support.named_rotations import (
    BY_NAME,
    NAME,
    name_states,
    rotate_name,
    rows_under,
    run_named,
)
from tests.support.rotations import to_the_end

pytestmark = pytest.mark.proves("K-10", "C6")

PUT = PutOptions(encryption=BY_NAME)
BOB = TenantId(b"bob".ljust(16, b"."))


def test_an_epoch_that_begins_to_wrap_after_the_call_was_cut_off_is_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(gateway: Gateway) -> None:
        services = gateway.services
        keys, ring = services.bucket_keys, services.bucket_keys.provider

        def cut_off(*_: object) -> None:
            raise KeydUnavailable()

        with monkeypatch.context() as patch:
            patch.setattr(ring, "set_named_epoch", cut_off)
            with pytest.raises(KeydUnavailable):
                await rotate_name(gateway)
            assert keys.newest_named(TENANT, NAME) == 1  # a request asks meanwhile
        ring.set_named_epoch(TENANT, NAME, 2, KeyState.ACTIVE)
        await KeyRotation(services).step()
        assert keys.newest_named(TENANT, NAME) == 2

    run_named(tmp_path, test)


def test_a_keyring_of_before_does_not_make_a_rotation_endless(tmp_path: Path) -> None:
    folder = tmp_path / "keys"

    async def test(gateway: Gateway) -> None:
        services = gateway.services
        for key in ("a", "b"):
            await gateway.put(key, b"small", PUT)
        shutil.copytree(folder, tmp_path / "before")
        await rotate_name(gateway)
        job = KeyRotation(services)
        await job.step()
        assert job.current is not None and job.current.number == 1
        ring = FileKeyring(tmp_path / "before", RootKey(b"r" * 32), TestEnv(7))
        services.bucket_keys.provider = ring
        job = await to_the_end(gateway)
        (held,) = rotations.scan_rotations(gateway.log, services.records, limit=9)
        assert (held.rotation.number, held.rotation.done) == (1, 0)
        assert await rows_under(gateway) == {1: 2}
        restore_keyring(gateway.index, services.records, ring)
        await services.env.sleep(BLOCKED_S)
        await to_the_end(gateway, job)
        assert await rows_under(gateway) == {2: 2}
        assert name_states(gateway) == ["DECRYPT_ONLY", "ACTIVE"]

    run_named(tmp_path, test)


@pytest.mark.parametrize("steps", [1, 4])
def test_a_rotation_writes_nothing_of_a_tenant_that_was_erased(tmp_path: Path, steps: int) -> None:
    async def test(gateway: Gateway) -> None:
        services = gateway.services
        await gateway.put("a", b"small", PUT)
        await rotate_name(gateway)
        job = KeyRotation(services)
        for _ in range(steps):
            await job.step()
        assert job.current is not None
        await commit_rows(services, (), (Write(job.current.row_key, None),))  # as `forget_some`
        with pytest.raises(BatchConflict):
            while await job.step() == 0:
                pass
        await to_the_end(gateway, job)
        assert not rotations.scan_rotations(gateway.log, services.records, limit=9)
        assert not rotations.scan_reports(gateway.log, services.records, limit=9)

    run_named(tmp_path, test)


def test_what_is_lost_does_not_keep_the_other_keys_out_of_the_token(tmp_path: Path) -> None:
    async def test(gateway: Gateway) -> None:
        services = gateway.services
        await gateway.put("lost", b"lost", PUT)
        await rotate_name(gateway)
        await KeyRotation(services).step()
        await named_epochs.set_named_epoch(services, TENANT, NAME, 1, KeyState.DISABLED)
        for rewrap in (False, True):
            if rewrap:
                with pytest.raises(NamedKeyDisabled):  # it may be enabled again
                    await named_moving.look(services, TENANT, rewrap=True)
            else:
                assert await named_moving.look(services, TENANT, rewrap=False) == (1, 0, 0)
        await named_epochs.destroy_named_epoch(services, TENANT, NAME, 1, forced=True)
        for rewrap in (False, True):
            assert await named_moving.look(services, TENANT, rewrap=rewrap) == (0, 0, 0)
        await gateway.put("kept", b"kept", PUT)
        assert await named_moving.look(services, TENANT, rewrap=True) == (1, 1, 0)

    run_named(tmp_path, test)


def test_a_disabled_epoch_of_one_tenant_does_not_hold_up_the_move_of_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(gateway: Gateway) -> None:
        left = tuple(InFile(one, (1,), (NAME,), 0) for one in (TENANT, BOB))

        async def move_of(_: Services) -> KeyMove:
            return KeyMove(2, left)

        async def look(_: Services, tenant: TenantId, *, rewrap: bool) -> Looked:
            if tenant == TENANT:
                raise NamedKeyDisabled(name=NAME, epoch=1)
            return Looked()

        monkeypatch.setattr(key_move, "move_of", move_of)
        monkeypatch.setattr(named_moving, "look", look)
        job = key_move.NamedKeyMover(gateway.services)
        while await job.step() == 0:
            pass
        assert [job.is_done(held) for held in left] == [False, True]

    run_named(tmp_path, test)
