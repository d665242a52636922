"""What somebody could try to have more erased, or sooner, than was asked for and agreed to."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.admin.erasure_desk import ErasureDesk
from gateway.approvals.warrant import WarrantRefused
from gateway.journal.certificate import verify_certificate
from gateway.model.erasure import ErasureKind
from gateway.model.errors import AccessDenied
from gateway.model.key_states import KeyState
from gateway.objects import approving, erasing, erasure_acts, erasure_looks, key_epochs
from gateway.objects.administrators import Administrators
from gateway.objects.buckets import create_bucket
from gateway.objects.lock_clock import LockClock
from gateway.objects.locks import Retention, put_legal_hold, put_retention
from tests.support.erasure_rig import CONFIG, ErasureRig, run, two_of
from tests.support.gateway import BUCKET, TENANT
from tests.support.key_states import destroy_epoch
from tests.support.rotations import bucket_of

SMALL = b"small " * 20


@pytest.mark.proves("E-01", "B-17")
def test_a_clock_that_was_set_back_and_is_right_again_ends_no_day(tmp_path: Path) -> None:
    async def scene(rig: ErasureRig) -> None:
        await rig.gateway.put("small", SMALL)
        rig.gateway.services.lock_clock = LockClock(rig.clock, written_ms=0, away_max_ms=0)
        rig.clock.days = -5
        erasure = await rig.begin(ErasureKind.BUCKET)
        await rig.work()
        assert rig.held(erasure).step == "disabled"
        for days in (0, 3650):
            rig.clock.days = days
            await rig.work()
            assert rig.held(erasure).step == "disabled"
        await erasing.cancel(rig.gateway.services, erasure.erasure_id)
        await rig.work()
        assert await rig.gateway.get("small") == SMALL

    run(tmp_path, scene)


@pytest.mark.proves("B-17")
def test_a_clock_that_is_set_forward_erases_no_locked_object(tmp_path: Path) -> None:
    async def scene(rig: ErasureRig) -> None:
        gateway, ctx = rig.gateway, rig.gateway.ctx
        await create_bucket(ctx(), "locked", None, object_lock=True)
        await gateway.put("kept", SMALL, bucket="locked")
        retention = Retention("COMPLIANCE", rig.clock.now_ms() + 10 * 86_400_000)
        await put_retention(ctx(), "locked", "kept", None, retention, bypass_governance=False)
        gateway.services.lock_clock = LockClock(rig.clock, written_ms=0, away_max_ms=0)
        rig.clock.days = 3650
        bucket = bucket_of(gateway, "locked")
        with pytest.raises(AccessDenied):
            await erasure_acts.delete_version(gateway.services, bucket.bucket_id, "kept", "")
        wanted = erasing.Wanted(
            kind=ErasureKind.OBJECT,
            tenant=TENANT,
            name="s3://locked/kept",
            requester="",
            bucket=bucket,
            key="kept",
        )
        erasure = await erasing.begin(gateway.services, CONFIG, wanted)
        await rig.work()
        assert rig.held(erasure).step == "delete" and "locked" in rig.held(erasure).detail
        assert await gateway.get("kept", bucket="locked") == SMALL
        journal = gateway.services.journal
        assert journal is not None
        before = [await journal.size(log) for log in journal.logs()]
        for _ in range(5):
            await rig.keeper.run_until_waiting()
        assert [await journal.size(log) for log in journal.logs()] == before, "told once"

    run(tmp_path, scene)


async def locked_bucket(rig: ErasureRig) -> erasing.Wanted:
    """A bucket with object lock and something in it, to be erased."""
    await create_bucket(rig.gateway.ctx(), "locked", None, object_lock=True)
    await rig.gateway.put("held", SMALL, bucket="locked")
    bucket = bucket_of(rig.gateway, "locked")
    return erasing.Wanted(
        kind=ErasureKind.BUCKET, tenant=TENANT, name="locked", requester="", bucket=bucket
    )


@pytest.mark.parametrize("until", ["disable", "disabled"])
def test_what_is_locked_after_the_notice_is_kept_as_well(tmp_path: Path, until: str) -> None:
    async def scene(rig: ErasureRig) -> None:
        services = rig.gateway.services
        wanted = await locked_bucket(rig)
        assert wanted.bucket is not None
        erasure = await erasing.begin(services, CONFIG, wanted)
        while rig.held(erasure).step != until:
            await rig.keeper.step()
        if until == "disabled":  # an operator enables what the erasure had disabled
            await key_epochs.set_all_bucket_epochs(
                services, wanted.bucket.bucket_id, KeyState.DECRYPT_ONLY
            )
        await put_legal_hold(rig.gateway.ctx(), "locked", "held", None, True)
        rig.clock.days = 3
        await rig.work()
        assert "locked" in rig.held(erasure).detail
        assert await rig.gateway.get("held", bucket="locked") == SMALL
        await put_legal_hold(rig.gateway.ctx(), "locked", "held", None, False)
        assert (await rig.to_the_end(erasure)).step == "done"

    run(tmp_path, scene)


@pytest.mark.proves("E-03")
def test_the_certificate_counts_what_was_there_at_the_end(tmp_path: Path) -> None:
    async def scene(rig: ErasureRig) -> None:
        await rig.gateway.put("small", SMALL)
        erasure = await rig.begin(ErasureKind.TENANT)
        await rig.gateway.put("later", SMALL)
        assert (erasure.objects, (await rig.to_the_end(erasure)).objects) == (1, 2)
        done = rig.held(erasure)
        journal = rig.gateway.services.journal
        assert journal is not None
        verified = verify_certificate(done.certificate.encode(), journal.keys.verifiers())
        assert verified.body["objects"] == 2

    run(tmp_path, scene)


@pytest.mark.proves("B-10")
def test_approvals_of_an_erasure_that_was_taken_back_destroy_no_key(tmp_path: Path) -> None:
    async def scene(rig: ErasureRig) -> None:
        rig.keyring.set_approvers(two_of().document.encode())
        await rig.gateway.put("small", SMALL)
        erasure = await rig.begin(ErasureKind.BUCKET)
        await rig.sign(erasure.request, "alice", "bruno")
        await rig.work()
        warrant = rig.held(erasure).warrant
        await erasing.cancel(rig.gateway.services, erasure.erasure_id)
        await rig.work()
        assert rig.held(erasure).step == "cancelled"
        for item in erasing.items_of(rig.gateway.services, erasure):
            with pytest.raises(WarrantRefused, match="used already"):
                rig.keyring.spend_warrant(item, warrant, erasure.erasure_id + "x")
        with pytest.raises(WarrantRefused, match="used already"):
            destroy_epoch(rig.keyring, TENANT, 1, warrant)

    run(tmp_path, scene)


@pytest.mark.proves("B-10")
@pytest.mark.parametrize("is_dropped", [False, True])
def test_a_request_that_nobody_signed_in_time_is_made_anew(
    tmp_path: Path, is_dropped: bool
) -> None:
    async def scene(rig: ErasureRig) -> None:
        services = rig.gateway.services
        rig.keyring.set_approvers(two_of().document.encode())
        await rig.gateway.put("small", SMALL)
        erasure = await rig.begin(ErasureKind.BUCKET)
        await rig.work()
        rig.clock.days = 31
        if is_dropped:
            await approving.drop(services, erasure.request)
        await rig.work()
        held = rig.held(erasure)
        assert held.step == "notice" and held.request != erasure.request
        await rig.sign(held.request, "alice", "bruno")
        await rig.work()
        assert rig.held(erasure).step == "disabled"

    run(tmp_path, scene)


def test_a_legal_hold_is_seen_in_however_many_buckets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(erasure_looks, "PAGE_ROWS", 2)

    async def scene(rig: ErasureRig) -> None:
        ctx = rig.gateway.ctx
        for number in range(5):
            await create_bucket(ctx(), f"zone-{number}", None, object_lock=True)
        await rig.gateway.put("held", SMALL, bucket="zone-4")
        await put_legal_hold(ctx(), "zone-4", "held", None, True)
        assert len(erasure_looks.buckets_of(rig.gateway.services, TENANT)) == 6
        erasure = await rig.begin(ErasureKind.TENANT)
        rig.clock.days = 22
        await rig.work()
        assert "legal hold" in rig.held(erasure).detail

    run(tmp_path, scene)


@pytest.mark.proves("B-10", "L-01")
def test_one_person_deletes_no_object_where_approvers_have_to_agree(tmp_path: Path) -> None:
    async def scene(rig: ErasureRig) -> None:
        gateway, journal = rig.gateway, rig.gateway.services.journal
        assert journal is not None
        desk = ErasureDesk(gateway.services, CONFIG)
        for key in ("one", "two"):
            await gateway.put(key, SMALL)
        fields = {"bucket": BUCKET, "key": "one", "lose": f"s3://{BUCKET}/one"}
        before = await journal.size(TENANT.hex())
        assert (await desk.begin(fields, "eve"))["deleted"] == 1
        assert await journal.size(TENANT.hex()) == before + 1, "the tenant can know"
        rig.keyring.set_approvers(two_of().document.encode())
        with pytest.raises(erasing.ErasureRefused, match="approvals"):
            await desk.begin({**fields, "key": "two", "lose": f"s3://{BUCKET}/two"}, "eve")
        assert await gateway.get("two") == SMALL

    run(tmp_path, scene)


@pytest.mark.proves("B-10", "A-03")
def test_nobody_approves_what_another_account_of_his_has_asked_for(tmp_path: Path) -> None:
    async def scene(rig: ErasureRig) -> None:
        services = rig.gateway.services
        held = Administrators(services)
        await held.add("alice", "Alice Martin", ["custodian"])
        await held.add("alice-too", "alice  MARTIN", ["custodian"])
        await held.add("bruno", "Bruno Petit", ["custodian"])
        rig.keyring.set_approvers(two_of().document.encode())
        await rig.gateway.put("small", SMALL)
        erasure = await rig.begin(ErasureKind.BUCKET, requester="alice-too")
        await rig.sign(erasure.request, "bruno")
        with pytest.raises(WarrantRefused, match="who asks"):
            await rig.sign(erasure.request, "alice")
        await rig.work()
        assert rig.held(erasure).step == "notice"
        await rig.sign(erasure.request, "chloe")
        await rig.work()
        assert rig.held(erasure).step == "disabled"

    run(tmp_path, scene)
