"""A tenant gives notice, moves, and can retrieve: dates, who may erase what and when, what is free,
and that clocks and restarts shorten nothing. Over a clock that the test moves.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from gateway.admin.key_desk import KeyDesk
from gateway.admin.metering_desk import MeteringDesk, MeteringInputInvalid
from gateway.jobs.departure import DepartureKeeper
from gateway.jobs.rotation import KeyRotation
from gateway.journal.certificate import CertificateInvalid, sign_certificate, verify_certificate
from gateway.journal.shelf import LOGS
from gateway.journal.store import read_lines
from gateway.meta import departure_rows
from gateway.model.billing import Plan
from gateway.model.departure import DAY_MS, Departure, DepartureInvalid
from gateway.model.erasure import ErasureKind
from gateway.model.errors import ContractEnded
from gateway.objects import departing, limits_set
from gateway.objects.buckets import create_bucket
from gateway.objects.delete import delete_object
from gateway.objects.departing import DepartureUnderWay, NoDeparture
from gateway.objects.erasing import ErasureUnderWay
from gateway.objects.erasure_bars import TenantLeaving
from gateway.objects.lock_clock import LockClock
from tests.support.erasure_rig import ErasureRig, erasure_rig, run, two_of
from tests.support.gateway import BUCKET, TENANT
from tests.unit.gateway.jobs.test_erasure import public

BODY = b"to be taken along " * 1000
DAYS = {"notice_days": 10, "transition_days": 5, "retrieval_days": 30}
UNTIL = 45


async def leave(rig: ErasureRig, **days: int) -> Departure:
    services = rig.gateway.services
    return await departing.give_notice(services, TENANT.hex(), "operator", **{**DAYS, **days})


async def pass_days(rig: ErasureRig, days: float) -> Departure:
    """Let it be so many days after the beginning, and the jobs see that."""
    rig.clock.days = days
    keeper = DepartureKeeper(rig.gateway.services)
    while not await keeper.step():
        pass
    await rig.work()
    found = departing.departure_of(rig.gateway.services, TENANT)
    assert found is not None
    return found


async def told(rig: ErasureRig) -> list[tuple[str, dict[str, Any]]]:
    """What his journal was told of it."""
    journal = rig.gateway.services.journal
    assert journal is not None
    size = await journal.size(TENANT.hex())
    lines = b"".join(read_lines(journal.folder / LOGS / TENANT.hex(), 0, size)).splitlines()
    bodies = [json.loads(line[line.index(b'{"salt"') :]) for line in lines]
    kinds = [line.split(b'"type":"')[1].partition(b'"')[0].decode() for line in lines]
    found = zip(kinds, bodies, strict=True)
    return [(kind, body) for kind, body in found if kind.startswith("departure.")]


@pytest.mark.proves("E-06")
def test_reads_go_on_to_the_end_writes_until_the_contract_is_over_and_both_are_free(
    tmp_path: Path,
) -> None:
    async def scene(rig: ErasureRig) -> None:
        services = rig.gateway.services
        await rig.gateway.put("a", BODY)
        given = await leave(rig)
        assert limits_set.plan_of(services, TENANT).switching
        assert (given.retrieval_until_ms - given.given_at_ms) == UNTIL * DAY_MS
        for days, phase in ((9.9, "notice"), (10.1, "transition"), (14.9, "transition")):
            assert (await pass_days(rig, days)).phase == phase
            await rig.gateway.put("b", BODY)
        for days, phase in ((15.1, "retrieval"), (44.9, "retrieval"), (45.1, "ended")):
            assert (await pass_days(rig, days)).phase == phase
            with pytest.raises(ContractEnded):
                await rig.gateway.put("c", BODY)
            with pytest.raises(ContractEnded):
                await create_bucket(rig.gateway.ctx(), "another", None)
            assert await rig.gateway.get("a") == BODY
        await delete_object(rig.gateway.ctx(), BUCKET, "b")
        assert "`hexagone erase --tenant tests`" in departing.warnings(services)[0]
        events = await told(rig)
        assert [kind for kind, _ in events] == [
            "departure.notice",
            "departure.transition",
            "departure.retrieval",
            "departure.ended",
        ]
        assert all(body["retrieval_until_ms"] == given.retrieval_until_ms for _, body in events)

    run(tmp_path, scene)


@pytest.mark.proves("E-06", "E-01")
def test_he_is_erased_after_the_later_of_notice_and_retrieval_and_the_certificate_says_so(
    tmp_path: Path,
) -> None:
    async def scene(rig: ErasureRig) -> None:
        await rig.gateway.put("a", BODY)
        given = await leave(rig)
        erasure = await rig.begin(ErasureKind.TENANT)
        assert erasure.execute_at_ms == given.retrieval_until_ms
        await pass_days(rig, UNTIL - 0.01)
        assert rig.held(erasure).step == "notice"
        assert await rig.gateway.get("a") == BODY
        await pass_days(rig, UNTIL + 0.01)
        assert rig.held(erasure).step == "disabled"
        rig.clock.days = UNTIL + 1.1
        await rig.work()
        done = rig.held(erasure)
        assert done.step == "done", done.detail
        assert departing.departures(rig.gateway.services) == []
        verified = verify_certificate(done.certificate.encode(), public(rig))
        assert verified.body["departure"] == given.dates
        assert "retrieval until" in verified.text
        _refuses_other_dates(rig, verified.body)

    run(tmp_path, scene)


def _refuses_other_dates(rig: ErasureRig, body: Any) -> None:
    """Whoever signs can still not say other dates than the journal was told."""
    journal = rig.gateway.services.journal
    assert journal is not None
    dates = body["departure"]
    for changed in ({**dates, "given_at_ms": dates["given_at_ms"] - 1}, {}, None):
        held = {name: value for name, value in body.items() if name != "departure"}
        if changed is not None:
            held["departure"] = changed
        with pytest.raises(CertificateInvalid, match="contract"):
            verify_certificate(sign_certificate(held, journal.keys).encode(), public(rig))


@pytest.mark.proves("E-06")
def test_a_notice_given_later_puts_off_an_erasure_that_was_approved(tmp_path: Path) -> None:
    async def scene(rig: ErasureRig) -> None:
        await rig.gateway.put("a", BODY)
        rig.keyring.set_approvers(two_of().document.encode())
        erasure = await rig.begin(ErasureKind.TENANT)
        await rig.sign(erasure.request, "alice", "bruno")
        rig.clock.days = 1
        given = await leave(rig)
        await pass_days(rig, 22)
        later = rig.held(erasure)
        assert (later.step, later.execute_at_ms) == ("notice", given.retrieval_until_ms)
        assert later.request != erasure.request, "what was approved was an earlier day"
        await rig.sign(later.request, "alice", "chloe")
        await pass_days(rig, 1 + UNTIL - 0.1)
        assert rig.held(erasure).step == "notice"
        await pass_days(rig, 1 + UNTIL + 0.1)
        assert rig.held(erasure).step == "disabled"

    run(tmp_path, scene)


@pytest.mark.proves("E-06")
def test_in_the_window_nobody_else_erases_a_bucket_an_object_or_a_key(tmp_path: Path) -> None:
    async def scene(rig: ErasureRig) -> None:
        services = rig.gateway.services
        await rig.gateway.put("a", BODY)
        early = await rig.begin(ErasureKind.BUCKET)  # before the notice, and nothing done yet
        await leave(rig)
        await pass_days(rig, 30)
        assert rig.held(early).step == "notice" and "retrieve" in rig.held(early).detail
        for kind, key in ((ErasureKind.BUCKET, ""), (ErasureKind.OBJECT, "a")):
            with pytest.raises(TenantLeaving):
                await rig.begin(kind, key)
        desk = KeyDesk(services, KeyRotation(services))
        for lost in ({"bucket": BUCKET}, {"tenant": TENANT.hex()}):
            name = next(iter(lost.values()))
            with pytest.raises(TenantLeaving):
                await desk.destroy(
                    {**lost, "epoch": "1", "lose": f"{'tests' if 'tenant' in lost else name}/1"}
                )
        with pytest.raises(MeteringInputInvalid, match="leaving"):
            await MeteringDesk(services).set_plan({"tenant": TENANT.hex()})
        assert await rig.gateway.get("a") == BODY
        await pass_days(rig, UNTIL + 0.1)
        assert rig.held(early).step == "disabled", "afterwards it goes on"

    run(tmp_path, scene)


@pytest.mark.proves("E-06")
def test_who_stays_writes_and_pays_again_and_is_not_erased_any_earlier(tmp_path: Path) -> None:
    async def scene(rig: ErasureRig) -> None:
        services = rig.gateway.services
        await limits_set.set_plan(services, TENANT, Plan(reserved_bytes=7))
        given = await leave(rig)
        with pytest.raises(DepartureUnderWay):
            await leave(rig)
        await pass_days(rig, 16)
        await departing.take_back(services, TENANT.hex(), "operator")
        await rig.gateway.put("a", BODY)
        assert limits_set.plan_of(services, TENANT) == Plan(reserved_bytes=7)
        with pytest.raises(NoDeparture):
            await departing.take_back(services, TENANT.hex(), "operator")
        erasure = await rig.begin(ErasureKind.TENANT)
        assert erasure.execute_at_ms == given.retrieval_until_ms
        again = await leave(rig, notice_days=0, transition_days=0, retrieval_days=30)
        assert again.erasable_from_ms == again.retrieval_until_ms > given.retrieval_until_ms
        assert (await pass_days(rig, 16.1)).phase == "retrieval"

    run(tmp_path, scene)


@pytest.mark.proves("E-06")
def test_the_transition_is_extended_once_and_only_before_it_is_over(tmp_path: Path) -> None:
    async def scene(rig: ErasureRig) -> None:
        services = rig.gateway.services
        given = await leave(rig)
        await pass_days(rig, 12)
        longer = await departing.extend(services, TENANT.hex(), "operator", 100)
        assert longer.retrieval_until_ms == given.retrieval_until_ms + 100 * DAY_MS
        assert longer.erasable_from_ms == longer.retrieval_until_ms
        with pytest.raises(DepartureInvalid, match="once"):
            await departing.extend(services, TENANT.hex(), "operator", 1)
        assert (await pass_days(rig, 114)).phase == "transition"
        assert (await pass_days(rig, 116)).phase == "retrieval"

    run(tmp_path, scene)


@pytest.mark.proves("E-06")
@pytest.mark.parametrize(
    "days", [{"notice_days": 60}, {"transition_days": 31}, {"retrieval_days": 29}]
)
def test_no_contract_makes_the_times_worse_for_him(tmp_path: Path, days: dict[str, int]) -> None:
    async def scene(rig: ErasureRig) -> None:
        with pytest.raises(DepartureInvalid):
            await leave(rig, **days)
        assert departing.departures(rig.gateway.services) == []
        assert await told(rig) == []

    run(tmp_path, scene)


@pytest.mark.proves("E-06", "B-17")
def test_a_clock_that_is_set_forward_ends_nothing(tmp_path: Path) -> None:
    async def scene(rig: ErasureRig) -> None:
        rig.gateway.services.lock_clock = LockClock(rig.clock, written_ms=0, away_max_ms=0)
        await leave(rig)
        assert (await pass_days(rig, 3650)).phase == "notice"
        await rig.gateway.put("a", BODY)

    run(tmp_path, scene)


@pytest.mark.proves("E-06")
def test_no_notice_while_his_keys_are_being_disabled(tmp_path: Path) -> None:
    async def scene(rig: ErasureRig) -> None:
        await rig.gateway.put("a", BODY)
        await rig.begin(ErasureKind.BUCKET)
        await rig.work()
        with pytest.raises(ErasureUnderWay):
            await leave(rig)

    run(tmp_path, scene)


@pytest.mark.proves("E-06")
def test_after_a_restart_nothing_more_is_taken_either(tmp_path: Path) -> None:
    async def scene() -> None:
        async with erasure_rig(tmp_path) as rig:
            await leave(rig, notice_days=0, transition_days=0)
            assert (await pass_days(rig, 0.1)).phase == "retrieval"
            services = rig.gateway.services
            services.quotas.close(())  # as a process that starts has it
            await rig.gateway.put("a", BODY)
            departing.load_departures(services)
            with pytest.raises(ContractEnded):
                await rig.gateway.put("b", BODY)
            stored = departure_rows.read_departure(services.log, services.records, TENANT)
            assert stored is not None and stored.departure.is_closed

    asyncio.run(asyncio.wait_for(scene(), 60))
