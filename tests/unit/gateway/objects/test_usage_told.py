"""Metered hours in a tenant's journal: once each, whatever dies; a statement computed again from it
is the same to the last byte, and what was altered is named.
"""

from __future__ import annotations

import asyncio
import errno
import json
import os
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from gateway.journal.events import Event
from gateway.journal.store import JournalUnavailable
from gateway.journal.usage import CLOSED, HOUR, PLAN
from gateway.model.billing import Plan
from gateway.objects import limits_set
from gateway.objects.delete import delete_object
from storaged.base.errors import Kind, StorageError
from tests.support.gateway import BUCKET, TENANT
from tests.support.told_usage import LOG, Told, checked, exported, forged, telling

pytestmark = pytest.mark.proves("A-16")

DAY_S = 24 * 3600.0


class Died(StorageError):
    """The process ends here."""

    kind = Kind.UNAVAILABLE


def run(folder: Path, use: Callable[[Told], Awaitable[None]]) -> bytes:
    """Use a gateway through November; the statement that it hands out."""
    held: list[bytes] = []

    async def main() -> None:
        async with telling(folder) as told:
            await use(told)
            to_end_s = (1_796_083_200_000 - told.rig.env.now_ms()) / 1000  # 2026-12-01T00Z
            told.rig.env.turn(to_end_s + 1800)
            await told.tell()
            held.append(await told.statement())

    asyncio.run(main())
    return held[0]


async def days(told: Told) -> None:
    """Two weeks in which something is written, read and deleted, told hour by hour or later."""
    rig = told.rig
    await rig.gateway.put("kept", bytes(100_000))
    await told.tell()
    for day in range(14):
        rig.env.turn(DAY_S / 2)
        await rig.gateway.put(f"k{day}", bytes(1000 * day))
        rig.meter.request(rig.bucket_id, "GetObject", 0, 10**9 + day)  # type: ignore[arg-type]
        await told.tell()
        rig.env.turn(DAY_S / 2)
        if day % 3 == 0:
            await delete_object(rig.gateway.ctx(), BUCKET, f"k{day}")
        if day % 2:
            await told.tell()


def test_a_statement_computed_from_the_journal_alone_is_equal_to_the_last_byte(
    tmp_path: Path,
) -> None:
    statement = run(tmp_path, days)
    found = checked(exported(tmp_path), statement)
    assert found.findings == []
    assert json.loads(statement)["is_final"] and json.loads(statement)["total"] != "0.00"


def test_an_altered_figure_of_a_statement_is_named(tmp_path: Path) -> None:
    statement = run(tmp_path, days)
    export = exported(tmp_path)
    told: dict[str, Any] = json.loads(statement)
    line = next(one for one in told["lines"] if one["item"] == "sent")
    was = line["quantity"]
    line["quantity"] += 1
    (finding,) = checked(export, json.dumps(told).encode() + b"\n").findings
    assert finding == (f"lines, sent, quantity: the statement says {was + 1}, the journal {was}")
    told = json.loads(statement)
    told["lines"].append({**told["lines"][0], "item": "handling", "amount": "12.00"})
    (finding,) = checked(export, json.dumps(told).encode() + b"\n").findings
    assert finding.startswith("lines, handling: the statement says {")
    (finding,) = checked(export, statement.replace(b": ", b":", 1)).findings
    assert "file is not what the command writes" in finding
    told = json.loads(statement)
    told["tenant_id"] = "b" * 32
    assert any(
        "tells nothing" in one for one in checked(export, json.dumps(told).encode()).findings
    )


def test_every_byte_of_an_event_that_is_changed_is_found(tmp_path: Path) -> None:
    statement = run(tmp_path, days)
    export = exported(tmp_path)
    (segment,) = (export / "logs" / LOG / "events").iterdir()
    whole = segment.read_bytes()
    for at in range(0, len(whole), 211):
        segment.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        assert checked(export, statement).findings
    segment.write_bytes(whole)
    assert not checked(export, statement).findings


def hours_at(events: Sequence[Event]) -> list[int]:
    return [at for at, one in enumerate(events) if one.type == HOUR]


def test_a_missing_and_a_doubled_hour_are_named_although_the_journal_is_signed(
    tmp_path: Path,
) -> None:
    """Whoever has the keys of the journal writes another one."""
    statement = run(tmp_path, days)

    def missing(events: list[Event]) -> list[Event]:
        return [one for at, one in enumerate(events) if at != hours_at(events)[3]]

    def doubled(events: list[Event]) -> list[Event]:
        at = hours_at(events)[3]
        return [*events[: at + 1], *events[at:]]

    def last_missing(events: list[Event]) -> list[Event]:
        return [one for at, one in enumerate(events) if at != hours_at(events)[-1]]

    def closing_missing(events: list[Event]) -> list[Event]:
        at = [at for at, one in enumerate(events) if one.type == CLOSED][2]
        return [*events[:at], *events[at + 1 :]]

    def open_end(events: list[Event]) -> list[Event]:
        return events[:-1]

    for change, said in (
        (missing, "which is missing"),
        (doubled, "is told twice"),
        (last_missing, "hours were told, 0 are there"),
        (closing_missing, "is not the one that is there"),
        (open_end, "the month is not closed"),
    ):
        findings = checked(forged(tmp_path, change), statement).findings
        assert any(said in one for one in findings), (said, findings)
        assert not any(one.startswith("journal: ") for one in findings)
    assert not checked(forged(tmp_path, list), statement).findings
    # One so far is nobody's to judge, where the journal is whole up to its end; a final one is.
    assert not checked(forged(tmp_path, open_end), statement).is_open
    so_far = json.dumps({**json.loads(statement), "is_final": False}).encode() + b"\n"
    still_open = checked(forged(tmp_path, open_end), so_far)
    assert still_open.is_open and still_open.document()["equal"] is False
    assert ["the month is not closed" in one for one in still_open.findings] == [True]

    def nothing(events: list[Event]) -> list[Event]:
        return [one._replace(type="journal.idle") for one in events[:1]]

    young = checked(forged(tmp_path, nothing), so_far)
    assert young.is_open and ["nothing of usage" in one for one in young.findings] == [True]
    assert not checked(forged(tmp_path, nothing), statement).is_open
    for change in (missing, doubled, last_missing, list):
        found = checked(forged(tmp_path, change), so_far)
        assert found.findings and not found.is_open, change


@pytest.mark.parametrize("at", range(1, 16))
def test_a_process_that_dies_anywhere_tells_each_hour_once(tmp_path: Path, at: int) -> None:
    """MET-02: before and after each event that is written, and each change of rows."""

    async def use(told: Told) -> None:
        rig, log = told.rig, told.rig.gateway.services.log
        record, commit = told.journal.record, log.commit_change
        await rig.gateway.put("kept", bytes(5000))
        rig.env.turn(3600)
        await rig.gateway.put("more", bytes(7000))
        left = at

        def dies() -> bool:
            nonlocal left
            left -= 1
            return left == 0

        async def recorded(name: str, event: Event) -> None:
            if dies():
                raise JournalUnavailable(reason="dead")
            await record(name, event)
            if dies():
                raise JournalUnavailable(reason="dead")

        async def committed(change: Any) -> Any:
            if dies():
                raise Died()
            done = await commit(change)
            if dies():
                raise Died()
            return done

        told.journal.record = recorded  # type: ignore[method-assign]
        log.commit_change = committed  # type: ignore[method-assign]
        for _ in range(2):
            rig.env.turn(3600)
            rig.meter.request(rig.bucket_id, "GetObject", 0, 999)  # type: ignore[arg-type]
            with_failure = left > 0
            with suppress(StorageError):
                await told.tell()
            if with_failure and left <= 0:
                told.journal.record, log.commit_change = record, commit  # type: ignore[method-assign]
                told.restart()
                await told.settle()
        told.journal.record, log.commit_change = record, commit  # type: ignore[method-assign]
        await told.tell()

    statement = run(tmp_path, use)
    found = checked(exported(tmp_path), statement)
    assert found.findings == []


def test_what_a_crash_lets_be_found_out_later_is_told_again(tmp_path: Path) -> None:
    async def use(told: Told) -> None:
        rig = told.rig
        await rig.gateway.put("gone", bytes(50_000))
        rig.env.turn(1800)
        await rig.meter.flush()
        rig.env.turn(7200)
        await told.tell()
        # The meter has not written that this went.
        await delete_object(rig.gateway.ctx(), BUCKET, "gone")
        told.restart()
        rig.env.turn(3600)
        await told.settle()
        await told.tell()

    statement = run(tmp_path, use)
    found = checked(exported(tmp_path), statement)
    assert found.findings == []
    assert any(one.startswith("told again since: 2026-11-01T03Z") for one in found.notices)


def test_what_is_sent_while_switching_is_free_by_the_hour(tmp_path: Path) -> None:
    """E-06."""

    async def use(told: Told) -> None:
        rig, services = told.rig, told.rig.gateway.services
        sent = 4 * 10**9
        rig.meter.request(rig.bucket_id, "GetObject", 0, sent)  # type: ignore[arg-type]
        rig.env.turn(DAY_S)
        await limits_set.set_plan(services, TENANT, Plan(switching=True))
        rig.meter.request(rig.bucket_id, "GetObject", 0, 10 * sent)  # type: ignore[arg-type]
        await told.tell()
        rig.env.turn(DAY_S)
        await limits_set.set_plan(services, TENANT, Plan(reserved_bytes=10**6))
        await limits_set.set_plan(services, TENANT, Plan())
        rig.meter.request(rig.bucket_id, "GetObject", 0, sent)  # type: ignore[arg-type]

    statement = run(tmp_path, use)
    lines = {one["item"]: one for one in json.loads(statement)["lines"]}
    assert lines["sent, switching"]["quantity"] == 40 * 10**9
    assert lines["sent, switching"]["amount"] == "0.00"
    assert (lines["sent"]["quantity"], lines["sent"]["amount"]) == (8 * 10**9, "0.08")
    found = checked(exported(tmp_path), statement)
    assert found.findings == []

    def no_plan(events: list[Event]) -> list[Event]:
        return [one for one in events if one.type != PLAN]

    findings = checked(forged(tmp_path, no_plan), statement).findings
    assert any(one.startswith("lines, sent, amount") for one in findings)


def test_a_tenant_that_uses_nothing_is_closed_once_a_month_and_no_more(tmp_path: Path) -> None:
    async def use(told: Told) -> None:
        await told.tell()
        before = await told.journal.size(LOG)
        for _ in range(20):
            told.rig.env.turn(3600)
            await told.tell()
        assert await told.journal.size(LOG) == before

    statement = run(tmp_path, use)
    assert not checked(exported(tmp_path), statement).findings


def test_what_a_failed_write_has_left_behind_the_end_of_a_journal_was_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The drive fails, and so does the cut of what it took; then it works again."""
    sync, cut = os.fdatasync, os.ftruncate

    def fails(*_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    async def use(told: Told) -> None:
        rig = told.rig
        await rig.gateway.put("kept", bytes(5000))
        rig.env.turn(3600)
        await told.tell()
        rig.env.turn(3600)
        rig.meter.request(rig.bucket_id, "GetObject", 0, 999)  # type: ignore[arg-type]
        rig.env.turn(3600)
        monkeypatch.setattr(os, "fdatasync", fails)
        monkeypatch.setattr(os, "ftruncate", fails)
        await told.tell()
        assert told.journal.failure
        monkeypatch.setattr(os, "fdatasync", sync)
        monkeypatch.setattr(os, "ftruncate", cut)
        async with asyncio.timeout(20):
            while told.journal.failure:
                await asyncio.sleep(0.05)
        await told.tell()

    statement = run(tmp_path, use)
    assert checked(exported(tmp_path), statement).findings == []


def test_a_clock_that_was_set_back_tells_no_hour_twice(tmp_path: Path) -> None:
    """A process dies before it closes what it has told, and comes back in an earlier hour."""

    async def use(told: Told) -> None:
        rig, record = told.rig, told.journal.record
        await rig.gateway.put("kept", bytes(5000))
        rig.env.turn(10 * 3600)
        await told.tell()
        rig.meter.request(rig.bucket_id, "GetObject", 0, 999)  # type: ignore[arg-type]
        rig.env.turn(3600)

        async def recorded(name: str, event: Event) -> None:
            if event.type == CLOSED:
                raise JournalUnavailable(reason="dead")
            await record(name, event)

        told.journal.record = recorded  # type: ignore[method-assign]
        await told.tell()
        told.journal.record = record  # type: ignore[method-assign]
        rig.env.at_ms -= 4 * 3_600_000
        told.restart()
        await told.settle()
        await told.tell()
        rig.env.turn(3600)
        await told.tell()
        rig.env.turn(5 * 3600)

    statement = run(tmp_path, use)
    assert checked(exported(tmp_path), statement).findings == []
