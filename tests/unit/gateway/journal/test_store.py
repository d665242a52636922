"""One log on a drive: whatever is cut, fails or is killed, what was acknowledged is there."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.journal import store as store_module
from gateway.journal.notes import NoteInvalid
from gateway.journal.store import JournalDamaged, JournalUnavailable, LogStore, read_lines
from tests.support.journal_rig import CLUSTER, NAMES, PREFIX, SIGNERS, event, findings

ORIGIN = f"{PREFIX}/{CLUSTER}"
SALTS = b"s" * 16 * 100


class Crash(BaseException):
    """The process is gone."""


class FailingOs:
    """The `os` module, but for the n-th call that changes a file."""

    CHANGES = frozenset({"pwrite", "fdatasync", "ftruncate", "open"})

    def __init__(self, fail_at: int, error: BaseException) -> None:
        self.fail_at = fail_at
        self.error = error
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        real = getattr(os, name)
        if name not in self.CHANGES:
            return real

        def called(*args: Any) -> Any:
            self.calls += 1
            if self.calls == self.fail_at:
                if name == "pwrite":  # half of it reaches the file
                    real(args[0], bytes(args[1])[: len(args[1]) // 2], args[2])
                raise self.error
            return real(*args)

        return called


def opened(folder: Path) -> LogStore:
    return LogStore(folder / "logs" / CLUSTER, ORIGIN, SIGNERS, NAMES)


def lines(folder: Path) -> list[bytes]:
    return list(read_lines(folder / "logs" / CLUSTER, 0, 10_000))


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    def put(fail_at: int, error: BaseException) -> FailingOs:
        made = FailingOs(fail_at, error)
        monkeypatch.setattr(store_module, "os", made)
        return made

    yield put
    monkeypatch.undo()


def test_events_are_there_after_a_restart(tmp_path: Path) -> None:
    store = opened(tmp_path)
    for at in range(5):
        store.append([event(at), event(at + 50)], SALTS)
    store.sign()
    store.append([event(99)], SALTS)
    root = store.root()
    store.close()
    again = opened(tmp_path)
    assert (again.size, again.root(), again.signed_size) == (11, root, 10)
    assert len(lines(tmp_path)) == 11
    again.sign()
    again.close()
    assert not findings(tmp_path).findings


def test_segments_follow_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "SEGMENT_EVENTS", 3)
    store = opened(tmp_path)
    for at in range(10):
        store.append([event(at)], SALTS)
    store.sign()
    store.close()
    assert len(store_module.segments_of(store.folder)) == 4
    again = opened(tmp_path)
    assert (again.size, again.root()) == (10, store.root())
    again.close()
    assert len(list(read_lines(store.folder, 4, 3))) == 3
    (store.folder / "hashes").unlink()
    third = opened(tmp_path)
    assert third.root_at(7) == again_root(tmp_path, 7)
    third.close()
    assert not findings(tmp_path).findings


def again_root(folder: Path, size: int) -> bytes:
    """The root over the first lines, from the lines alone."""
    from gateway.journal import tree
    from gateway.journal.events import check_line

    edge = tree.Edge()
    for seq, line in enumerate(lines(folder)[:size]):
        edge.append(check_line(line, seq))
    return edge.root()


def test_l_04_a_cut_at_any_byte_of_the_end_leaves_a_log_that_opens(tmp_path: Path) -> None:
    whole = tmp_path / "whole"
    store = opened(whole)
    store.append([event(0)], SALTS)
    store.sign()
    store.append([event(1)], SALTS)
    store.close()
    segment = next((store.folder / "events").iterdir())
    content, kept = segment.read_bytes(), len(lines(whole)[0])
    for cut in range(kept, len(content), 9):
        folder = tmp_path / f"cut-{cut}"
        shutil.copytree(whole, folder)
        part = folder / segment.relative_to(whole)
        part.write_bytes(content[:cut] + b"\0" * (cut % 3))
        (folder / "logs" / CLUSTER / "hashes").write_bytes(b"\xff" * (cut % 200))
        again = opened(folder)
        assert again.size == 1, cut
        tail = cut - kept + cut % 3
        assert again.put_aside_bytes == tail
        again.append([event(2)], SALTS)
        again.sign()
        again.close()
        assert not findings(folder).findings
        assert len(list(part.parent.glob("*.torn-*"))) == (tail > 0)


@pytest.mark.parametrize("error", [Crash(), OSError(errno.ENOSPC, "No space left on device")])
def test_jrn_02_a_failure_at_any_call_loses_nothing_acknowledged(
    tmp_path: Path, failing: Any, error: BaseException
) -> None:
    for fail_at in range(1, 40):
        folder = tmp_path / str(fail_at)
        acknowledged = 0
        calls = failing(fail_at, error)
        store: LogStore | None = None
        try:
            store = opened(folder)
            for at in range(6):
                try:
                    store.append([event(at), event(at)], SALTS)
                except JournalUnavailable:
                    continue
                acknowledged += 2
                if at == 3:
                    store.sign()
        except (Crash, OSError, JournalUnavailable):
            pass
        if calls.calls < fail_at:
            return  # every call has failed once
        if store is not None:
            store.close()
        failing(0, error)
        again = opened(folder)
        assert again.size >= acknowledged, fail_at
        if isinstance(error, OSError):
            assert again.size == acknowledged, "what was refused is not there"
        again.append([event(9)], SALTS)
        again.sign()
        again.close()
        assert not findings(folder).findings
    raise AssertionError("there are more calls than were tried")


def test_jrn_01_a_log_that_is_not_what_was_signed_is_not_written(tmp_path: Path) -> None:
    store = opened(tmp_path)
    store.append([event(at) for at in range(4)], SALTS)
    store.sign()
    store.close()
    segment = next((store.folder / "events").iterdir())
    content = segment.read_bytes()
    segment.write_bytes(content[: len(lines(tmp_path)[0])])
    with pytest.raises(JournalDamaged):
        opened(tmp_path)
    segment.write_bytes(content)
    note = (store.folder / "checkpoint").read_bytes()
    (store.folder / "checkpoint").write_bytes(note.replace(b"\n4\n", b"\n3\n"))
    with pytest.raises(NoteInvalid):
        opened(tmp_path)


KILLED = """
import sys
from pathlib import Path
from tests.unit.gateway.journal.test_store import SALTS, event, opened
store = opened(Path(sys.argv[1]))
for at in range(100_000):
    store.append([event(at)], SALTS)
    if at % 7 == 0:
        store.sign()
    print(store.size, flush=True)
"""


def test_l_04_kill_9_loses_no_acknowledged_event(tmp_path: Path) -> None:
    for round_number in range(3):
        child = subprocess.Popen(
            [sys.executable, "-c", KILLED, str(tmp_path)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.getcwd()},
        )
        assert child.stdout is not None
        told = [int(child.stdout.readline()) for _ in range(40 + 13 * round_number)]
        child.send_signal(signal.SIGKILL)
        told += [int(line) for line in child.stdout.read().splitlines()[:-1]]
        child.wait()
        again = opened(tmp_path)
        assert again.size >= max(told)
        again.sign()
        again.close()
        assert not findings(tmp_path).findings
