"""Erasure of a tenant, a bucket and an object, step by step, over a clock that the test moves."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.journal.certificate import verify_certificate
from gateway.journal.notes import VerifierKey
from gateway.model.bucket import Versioning
from gateway.model.erasure import ErasureKind
from gateway.model.key_states import KeyState
from gateway.objects import approving, erasing, erasure_looks, key_epochs, tenancy
from gateway.objects.buckets import create_bucket
from gateway.objects.erasing import ErasureUnderWay
from gateway.objects.lock_clock import LockClock
from gateway.objects.locks import put_legal_hold
from gateway.objects.rewrapping import FAMILIES
from gateway.objects.versioning import set_versioning
from storaged.base.errors import StorageError
from tests.support.erasure_rig import CONFIG, ErasureRig, run, two_of
from tests.support.gateway import BUCKET, TENANT
from tests.support.rotations import bucket_of, forget_all, rotate, states_of, to_the_end

SMALL, LARGE = b"small " * 20, b"large " * 200_000


async def stored(rig: ErasureRig) -> None:
    await rig.gateway.put("small", SMALL)
    await rig.gateway.put("large", LARGE)


def public(rig: ErasureRig) -> list[VerifierKey]:
    journal = rig.gateway.services.journal
    assert journal is not None
    return journal.keys.verifiers()


@pytest.mark.proves("E-01", "E-02", "E-03", "I4")
def test_a_tenant_is_erased_after_its_notice_and_not_a_day_before(tmp_path: Path) -> None:
    async def scene(rig: ErasureRig) -> None:
        await stored(rig)
        erasure = await rig.begin(ErasureKind.TENANT)
        assert (erasure.objects, erasure.size_bytes) == (2, len(SMALL) + len(LARGE))
        await rig.work()
        rig.clock.days = 20.99
        await rig.work()
        assert rig.held(erasure).step == "notice"
        assert await rig.gateway.get("small") == SMALL
        rig.clock.days = 21.01
        await rig.work()
        assert rig.held(erasure).step == "disabled"
        with pytest.raises(StorageError):
            await rig.gateway.get("large")
        rig.clock.days = 22.0
        await rig.work()
        assert rig.held(erasure).step == "disabled", "a whole day"
        rig.clock.days = 22.1
        await rig.work()
        done = rig.held(erasure)
        assert (done.step, done.name) == ("done", ""), done.detail
        for family in FAMILIES:
            assert not rig.gateway.rows_of(family)
        assert not rig.gateway.named_bytes() and not rig.gateway.live_bytes()
        assert not erasure_looks.tenant_exists(rig.gateway.services, TENANT)
        verified = verify_certificate(done.certificate.encode(), public(rig))
        assert verified.body["tenant"] == TENANT.hex()
        assert [key["item"] for key in verified.body["keys"]] == [f"tenant-key/{TENANT.hex()}/1"]
        assert "2 object version(s)" in verified.text

    run(tmp_path, scene)


@pytest.mark.proves("E-01", "B-17")
def test_a_clock_that_is_set_forward_ends_no_notice(tmp_path: Path) -> None:
    async def scene(rig: ErasureRig) -> None:
        await stored(rig)
        rig.gateway.services.lock_clock = LockClock(rig.clock, written_ms=0, away_max_ms=0)
        erasure = await rig.begin(ErasureKind.TENANT)
        rig.clock.days = 3650
        await rig.work()
        assert rig.held(erasure).step == "notice"
        assert await rig.gateway.get("large") == LARGE

    run(tmp_path, scene)


@pytest.mark.proves("C7", "I4")
def test_a_bucket_is_erased_with_the_tenants_older_key_and_the_others_stay(tmp_path: Path) -> None:
    async def scene(rig: ErasureRig) -> None:
        await stored(rig)
        await create_bucket(rig.gateway.ctx(), "other", None)
        await rig.gateway.put("kept", LARGE, bucket="other")
        erasure = await rig.begin(ErasureKind.BUCKET)
        await rig.work()
        assert rig.held(erasure).step == "disabled"
        with pytest.raises(StorageError):
            await rig.gateway.put("more", SMALL)
        rig.clock.days = 1.01
        await rig.work()
        done = rig.held(erasure)
        assert done.step == "done", done.detail
        with pytest.raises(StorageError, match="bucket"):
            await rig.gateway.get("small")
        forget_all(rig.gateway)
        assert await rig.gateway.get("kept", bucket="other") == LARGE
        assert rig.gateway.named_bytes() == rig.gateway.live_bytes()
        verified = verify_certificate(done.certificate.encode(), public(rig))
        items = [key["item"] for key in verified.body["keys"]]
        assert [item.split("/")[0] for item in items] == ["bucket-key", "tenant-key"]
        epochs = [one.state.value for one in rig.keyring.tenant_epochs(TENANT)]
        assert epochs == ["DESTROYED", "ACTIVE"]
        await create_bucket(rig.gateway.ctx(), BUCKET, None)  # the name is free

    run(tmp_path, scene)


@pytest.mark.proves("C7")
@pytest.mark.parametrize("versioned", [False, True])
def test_an_object_is_shredded_by_rotations_and_the_others_stay(
    tmp_path: Path, versioned: bool
) -> None:
    async def scene(rig: ErasureRig) -> None:
        gateway = rig.gateway
        if versioned:
            await set_versioning(gateway.ctx(), BUCKET, Versioning.ENABLED)
        await stored(rig)
        first = await gateway.put("victim", SMALL)
        await gateway.put("victim", LARGE)
        version = (first.version_id or "") if versioned else ""
        erasure = await rig.begin(ErasureKind.OBJECT, "victim", version)
        assert erasure.objects == 1
        done = await rig.to_the_end(erasure)
        assert (done.step, done.key) == ("done", ""), done.detail
        assert states_of(gateway) == ["DESTROYED", "ACTIVE"]
        forget_all(gateway)
        assert await gateway.get("large") == LARGE
        if versioned:
            assert await gateway.get("victim") == LARGE
        else:
            with pytest.raises(StorageError):
                await gateway.get("victim")
        verified = verify_certificate(done.certificate.encode(), public(rig))
        assert len(verified.body["keys"]) == 2
        again = await rig.begin(ErasureKind.OBJECT, "large")
        assert (await rig.to_the_end(again)).step == "done"

    run(tmp_path, scene)


@pytest.mark.proves("B-10", "E-01")
def test_a_tenant_is_not_erased_before_two_have_approved_it(tmp_path: Path) -> None:
    async def scene(rig: ErasureRig) -> None:
        rig.keyring.set_approvers(two_of().document.encode())
        await stored(rig)
        erasure = await rig.begin(ErasureKind.TENANT)
        await rig.sign(erasure.request, "alice")
        rig.clock.days = 22
        await rig.work()
        assert (rig.held(erasure).step, rig.held(erasure).detail) == (
            "notice",
            f"waits for 1 approval(s) of request {erasure.request}",
        )
        await rig.sign(erasure.request, "alice")  # the same once more
        await rig.work()
        assert rig.held(erasure).step == "notice"
        await rig.sign(erasure.request, "chloe")
        done = await rig.to_the_end(erasure)
        assert done.step == "done", done.detail
        verified = verify_certificate(done.certificate.encode(), public(rig))
        assert "Approved by: alice, chloe; asked by operator" in verified.text

    run(tmp_path, scene)


@pytest.mark.proves("B-10")
def test_keys_that_came_after_the_request_are_approved_anew(tmp_path: Path) -> None:
    async def scene(rig: ErasureRig) -> None:
        services = rig.gateway.services
        rig.keyring.set_approvers(two_of().document.encode())
        await stored(rig)
        erasure = await rig.begin(ErasureKind.BUCKET)
        await rotate(rig.gateway)
        await to_the_end(rig.gateway)
        await rig.sign(erasure.request, "alice", "bruno")
        await rig.work()
        held = rig.held(erasure)
        assert held.step == "notice" and held.request != erasure.request
        assert held.request in held.detail
        with pytest.raises(approving.NoSuchRequest):
            approving.find(services, erasure.request)  # nobody signs it in vain
        await rig.sign(held.request, "alice", "bruno")
        await rig.work()
        assert rig.held(erasure).step == "disabled"
        # One of them is no approver any longer when the keys are to be destroyed.
        wanted = two_of("alice", "chloe", "denis", version=2)
        pending = await approving.ask(
            services,
            approving.Act.SET_APPROVERS,
            about="",
            name="",
            permits=(f"approvers/{wanted.digest}",),
            objects=0,
            size_bytes=0,
            requester="operator",
        )
        await rig.sign(pending.request.request_id, "alice", "chloe")
        warrant = approving.find(services, pending.request.request_id).warrant
        rig.keyring.set_approvers(wanted.document.encode(), warrant)
        rig.clock.days = 2
        await rig.work()
        late = rig.held(erasure)
        assert late.step == "destroy" and not late.destroyed
        assert states_of(rig.gateway)[-1] == "DISABLED"
        await rig.sign(late.request, "chloe", "denis")
        await rig.work()
        done = rig.held(erasure)
        assert done.step == "done", done.detail
        verify_certificate(done.certificate.encode(), public(rig))

    run(tmp_path, scene)


@pytest.mark.parametrize("kind", [ErasureKind.TENANT, ErasureKind.BUCKET])
def test_an_erasure_is_taken_back_until_keys_are_destroyed(
    tmp_path: Path, kind: ErasureKind
) -> None:
    async def scene(rig: ErasureRig) -> None:
        await stored(rig)
        erasure = await rig.begin(kind)
        with pytest.raises(ErasureUnderWay):
            await rig.begin(kind)
        rig.clock.days = 21.5
        await rig.work()
        assert rig.held(erasure).step == "disabled"
        await erasing.cancel(rig.gateway.services, erasure.erasure_id)
        await rig.work()
        assert rig.held(erasure).step == "cancelled"
        assert await rig.gateway.get("large") == LARGE
        await rig.gateway.put("more", SMALL)
        await rig.begin(kind)

    run(tmp_path, scene)


def test_what_was_disabled_before_stays_disabled_when_an_erasure_is_taken_back(
    tmp_path: Path,
) -> None:
    async def scene(rig: ErasureRig) -> None:
        services = rig.gateway.services
        await stored(rig)
        await rotate(rig.gateway)
        await to_the_end(rig.gateway)
        bucket = bucket_of(rig.gateway)
        await key_epochs.set_bucket_epoch(services, bucket, 1, KeyState.DISABLED)
        erasure = await rig.begin(ErasureKind.BUCKET)
        await rig.work()
        assert states_of(rig.gateway) == ["DISABLED", "DISABLED"]
        await erasing.cancel(services, erasure.erasure_id)
        await rig.work()
        assert states_of(rig.gateway) == ["DISABLED", "ACTIVE"]
        await tenancy.set_tenant_enabled(services, "tests", enabled=False)
        whole = await rig.begin(ErasureKind.TENANT)
        rig.clock.days = 21.5
        await rig.work()
        await erasing.cancel(services, whole.erasure_id)
        await rig.work()
        assert not tenancy.find_tenant(services, "tests").enabled
        assert [one.state.value for one in rig.keyring.tenant_epochs(TENANT)] == ["ACTIVE"]

    run(tmp_path, scene)


@pytest.mark.parametrize("kind", [ErasureKind.TENANT, ErasureKind.BUCKET])
def test_a_legal_hold_keeps_what_it_holds(tmp_path: Path, kind: ErasureKind) -> None:
    async def scene(rig: ErasureRig) -> None:
        ctx = rig.gateway.ctx
        await create_bucket(ctx(), "locked", None, object_lock=True)
        await rig.gateway.put("held", SMALL, bucket="locked")
        await put_legal_hold(ctx(), "locked", "held", None, True)
        if kind is ErasureKind.BUCKET:
            bucket = bucket_of(rig.gateway, "locked")
            wanted = erasing.Wanted(
                kind=kind, tenant=TENANT, name="locked", requester="", bucket=bucket
            )
            erasure = await erasing.begin(rig.gateway.services, CONFIG, wanted)
        else:
            erasure = await rig.begin(kind)
        rig.clock.days = 23
        await rig.work()
        assert "legal hold" in rig.held(erasure).detail
        assert await rig.gateway.get("held", bucket="locked") == SMALL
        await put_legal_hold(ctx(), "locked", "held", None, False)
        assert (await rig.to_the_end(erasure)).step == "done"

    run(tmp_path, scene)
