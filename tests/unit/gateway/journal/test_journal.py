"""The journal as a whole: who waits, who does not, and what happens when nothing can be written."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.journal import journal as journal_module
from gateway.journal import store as store_module
from gateway.journal.events import CLUSTER, read_line
from gateway.journal.journal import Accesses, Journal, JournalConfig
from gateway.journal.store import JournalUnavailable, read_lines
from storaged.base.env import RealEnv
from tests.support.journal_rig import OTHER, TENANT, event, findings, keys_with


class FullDrive:
    """The `os` module on a drive that takes nothing while `full`."""

    def __init__(self) -> None:
        self.full = False

    def __getattr__(self, name: str) -> Any:
        if self.full and name == "pwrite":
            raise OSError(errno.ENOSPC, "No space left on device")
        return getattr(os, name)


@pytest.fixture
def drive(monkeypatch: pytest.MonkeyPatch) -> FullDrive:
    made = FullDrive()
    monkeypatch.setattr(store_module, "os", made)
    monkeypatch.setattr(journal_module, "RETRY_S", 0.02)
    monkeypatch.setattr(journal_module, "FLUSH_S", 0.02)
    return made


def run(folder: Path, use: Callable[[Journal], Awaitable[None]], **config: Any) -> None:
    """Use a journal, then close it; it verifies."""

    async def main() -> None:
        env = RealEnv(threads_max=2)
        journal = Journal(JournalConfig(folder=folder, **config), keys_with(), env)
        journal.start()
        try:
            await use(journal)
        finally:
            await journal.close()
            env.close()

    asyncio.run(main())
    assert not findings(folder).findings


def types(folder: Path, log: str) -> list[str]:
    found = read_lines(folder / "logs" / log, 0, 100_000)
    return [read_line(line, seq).type for seq, line in enumerate(found)]


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(500):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came")


def test_i5_an_act_is_on_the_drive_when_record_returns(tmp_path: Path) -> None:
    async def use(journal: Journal) -> None:
        for at in range(3):
            await journal.record(TENANT, event(at))
            assert len(types(tmp_path, TENANT)) == at + 1
        await asyncio.gather(*(journal.record(OTHER, event(at)) for at in range(200)))
        assert len(types(tmp_path, OTHER)) == 200

    run(tmp_path, use)
    assert types(tmp_path, CLUSTER).count("journal.anchor") >= 2


def test_noted_events_are_written_a_moment_later(tmp_path: Path, drive: FullDrive) -> None:
    async def use(journal: Journal) -> None:
        for at in range(10):
            journal.note(TENANT, event(at))
        await until(lambda: not journal.waiting)

    run(tmp_path, use)
    assert len(types(tmp_path, TENANT)) == 10


def test_jrn_02_a_full_drive_refuses_acts_and_keeps_accesses(
    tmp_path: Path, drive: FullDrive
) -> None:
    async def use(journal: Journal) -> None:
        await journal.record(TENANT, event(0))
        drive.full = True
        with pytest.raises(JournalUnavailable, match="No space"):
            await journal.record(TENANT, event(1))
        with pytest.raises(JournalUnavailable) as again:  # at once, without a try
            await asyncio.wait_for(journal.record(OTHER, event(2)), 0.01)
        assert again.value.message().count("cannot be written") == 1
        assert again.value.fields == {"reason": "No space left on device"}
        for at in range(3, 6):
            journal.note(TENANT, event(at))
        await until(lambda: journal.failure != "")
        drive.full = False
        await until(lambda: journal.failure == "" and not journal.waiting)
        await journal.record(TENANT, event(9))

    run(tmp_path, use)
    assert len(types(tmp_path, TENANT)) == 5, "one, three that waited, and the last"


def test_jrn_02_what_has_no_room_is_counted_in_an_event(
    tmp_path: Path, drive: FullDrive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "QUEUE_EVENTS_MAX", 5)

    async def use(journal: Journal) -> None:
        await journal.record(CLUSTER, event(0))
        drive.full = True
        with pytest.raises(JournalUnavailable):
            await journal.record(TENANT, event(1))
        for at in range(12):
            journal.note(TENANT, event(at))
        assert journal.lost >= 7
        drive.full = False
        await until(lambda: journal.failure == "" and not journal.waiting)
        lost = journal.lost
        await journal.record(CLUSTER, event(2))
        lines = list(read_lines(tmp_path / "logs" / CLUSTER, 0, 1000))
        entries = [read_line(line, seq) for seq, line in enumerate(lines)]
        gaps = [entry.body["lost"] for entry in entries if entry.type == "journal.gap"]
        assert gaps == [lost]

    run(tmp_path, use)


def test_jrn_02_required_accesses_are_refused_after_a_while(
    tmp_path: Path, drive: FullDrive, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def use(journal: Journal) -> None:
        await journal.record(TENANT, event(0))
        journal.check_accesses(TENANT)
        drive.full = True
        with pytest.raises(JournalUnavailable):
            await journal.record(TENANT, event(1))
        journal.check_accesses(TENANT)
        monkeypatch.setattr(journal_module, "BUFFERED_S", -1.0)
        if journal.accesses_required:
            with pytest.raises(JournalUnavailable):
                journal.check_accesses(TENANT)
        else:
            journal.check_accesses(TENANT)
        drive.full = False
        await until(lambda: journal.failure == "")
        journal.check_accesses(TENANT)

    for required in (True, False):
        monkeypatch.setattr(journal_module, "BUFFERED_S", 30.0)
        run(tmp_path / str(required), use, accesses=Accesses.ALL, accesses_required=required)


def test_jrn_02_where_the_writer_ends_by_a_mistake_nobody_waits_and_all_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def mistaken(*_: object) -> None:
        raise ZeroDivisionError

    async def main() -> None:
        env = RealEnv(threads_max=1)
        journal = Journal(JournalConfig(folder=tmp_path), keys_with(), env)
        journal.start()
        await journal.record(TENANT, event(0))
        monkeypatch.setattr(store_module, "encode_line", mistaken)
        journal.note(TENANT, event(1))
        found = await asyncio.gather(
            *(journal.record(log, event(2)) for log in (TENANT, OTHER)), return_exceptions=True
        )
        assert all(isinstance(one, JournalUnavailable) for one in found)
        with pytest.raises(JournalUnavailable, match="its writer has ended"):
            await journal.record(TENANT, event(3))
        with pytest.raises(JournalUnavailable):
            journal.check_accesses(TENANT)
        with pytest.raises(ZeroDivisionError):
            await journal.close()
        monkeypatch.undo()
        again = Journal(JournalConfig(folder=tmp_path), keys_with(), env)  # the lock is free
        again.start()
        await again.record(TENANT, event(4))
        await again.close()
        env.close()

    asyncio.run(main())
    assert "ZeroDivisionError" in caplog.text and "1 events of the journal are lost" in caplog.text
    assert not findings(tmp_path).findings


def test_a_second_process_does_not_write(tmp_path: Path) -> None:
    async def use(journal: Journal) -> None:
        await journal.record(TENANT, event(0))
        env = RealEnv(threads_max=1)
        second = Journal(JournalConfig(folder=tmp_path), keys_with(), env)
        second.start()
        with pytest.raises(JournalUnavailable, match="another process"):
            await second.record(TENANT, event(1))
        await second.close()
        env.close()

    run(tmp_path, use)


def test_jrn_01_a_damaged_log_refuses_and_the_others_go_on(tmp_path: Path) -> None:
    async def first(journal: Journal) -> None:
        await journal.record(TENANT, event(0))
        await journal.record(OTHER, event(0))

    run(tmp_path, first)
    path = next((tmp_path / "logs" / TENANT / "events").iterdir())
    content = path.read_bytes()
    path.write_bytes(b"")

    async def main() -> None:
        env = RealEnv(threads_max=1)
        journal = Journal(JournalConfig(folder=tmp_path), keys_with(), env)
        journal.start()
        with pytest.raises(JournalUnavailable):
            await journal.record(TENANT, event(1))
        journal.note(TENANT, event(2))
        await journal.record(OTHER, event(1))
        await until(lambda: journal.lost == 1)
        assert journal.failure == "" and list(journal.damaged) == [TENANT]
        with pytest.raises(JournalUnavailable):
            journal.check_accesses(TENANT)
        journal.check_accesses(OTHER)
        journal.accesses_required = False
        journal.check_accesses(TENANT)
        await journal.close()
        env.close()

    asyncio.run(main())
    assert findings(tmp_path).findings
    path.write_bytes(content)
    assert not findings(tmp_path).findings


def test_that_nothing_can_be_signed_is_told_until_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> None:
        raise OSError(errno.EACCES, "Permission denied")

    async def use(journal: Journal) -> None:
        await journal.record(TENANT, event(0))
        await until(lambda: not journal._shelf.dirty)
        with monkeypatch.context() as patch:
            patch.setattr(store_module, "replace_file", refused)
            await journal.record(TENANT, event(1))
            await until(lambda: "Permission denied" in journal.unsigned)
            await journal.record(TENANT, event(2))  # events are durable without
            assert not journal.failure
        await until(lambda: not journal.unsigned)

    monkeypatch.setattr(journal_module, "CHECKPOINT_S", 0.02)
    monkeypatch.setattr(journal_module, "FLUSH_S", 0.02)
    run(tmp_path, use)


def test_what_a_crash_left_unsigned_is_signed_after_the_start(tmp_path: Path) -> None:
    async def use(journal: Journal) -> None:
        await journal.record(TENANT, event(0))
        await journal.record(OTHER, event(0))

    run(tmp_path, use)
    for log in (TENANT, OTHER, CLUSTER):  # as if the last checkpoints had never been written
        (tmp_path / "logs" / log / "checkpoint").unlink()

    async def again(journal: Journal) -> None:
        signed = await journal.checkpoint()
        assert set(signed.notes) == {TENANT, OTHER, CLUSTER}

    run(tmp_path, again)


def test_l_05_silence_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """L-05: an hour without an event makes one, and a checkpoint over it."""
    monkeypatch.setattr(journal_module, "FLUSH_S", 0.01)
    monkeypatch.setattr(journal_module, "IDLE_S", 0.03)
    monkeypatch.setattr(journal_module, "CHECKPOINT_S", 0.03)

    async def use(journal: Journal) -> None:
        await journal.record(CLUSTER, event(0))
        await until(lambda: types(tmp_path, CLUSTER).count("journal.idle") >= 2)
        assert (tmp_path / "logs" / CLUSTER / "checkpoint").exists()

    run(tmp_path, use)


def test_nothing_is_taken_after_the_end(tmp_path: Path) -> None:
    async def main() -> None:
        env = RealEnv(threads_max=1)
        journal = Journal(JournalConfig(folder=tmp_path), keys_with(), env)
        with pytest.raises(JournalUnavailable, match="closed"):
            await journal.record(TENANT, event(0))
        journal.start()
        await journal.close()
        await journal.close()
        with pytest.raises(JournalUnavailable, match="closed"):
            await journal.record(TENANT, event(0))
        env.close()

    asyncio.run(main())
