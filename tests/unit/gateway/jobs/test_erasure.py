"""Erasure of a tenant, a bucket and an object, step by step, over a clock that the test moves."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.journal.certificate import verify_certificate
from gateway.model.erasure import ErasureKind
from gateway.objects import erasing
from gateway.objects.rewrapping import FAMILIES
from storaged.base.errors import StorageError
from tests.support.erasure_rig import ErasureRig, run
from tests.support.gateway import TENANT

SMALL, LARGE = b"small " * 20, b"large " * 200_000


async def stored(rig: ErasureRig) -> None:
    await rig.gateway.put("small", SMALL)
    await rig.gateway.put("large", LARGE)


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
        assert not erasing.tenant_exists(rig.gateway.services, TENANT)
        journal = rig.gateway.services.journal
        assert journal is not None
        verified = verify_certificate(done.certificate.encode(), journal.keys.verifiers())
        assert verified.body["tenant"] == TENANT.hex()
        assert [key["item"] for key in verified.body["keys"]] == [f"tenant-key/{TENANT.hex()}/1"]
        assert "2 object version(s)" in verified.text

    run(tmp_path, scene)
