"""Processor time out of /proc, copies out of what perf prints, and µs by layer made of them."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench.copies import io_of, memcpy_place, read_events
from bench.layers import LAYERS
from bench.processor import TICKS_PER_S, Spent, between, family, look, role_of
from bench.profile import by_layer, copies_line
from bench.stacks import Stack


def _member(proc: Path, process_id: int, parent: int, user: int, tasks: dict[int, int]) -> None:
    folder = proc / str(process_id)
    folder.mkdir(exist_ok=True)
    fields = " ".join(["S", str(parent), *["0"] * 9, str(user), "0"])
    (folder / "stat").write_text(f"{process_id} (a ) b) {fields}\n")
    (folder / "cmdline").write_bytes(b"python\0-m\0gateway.main\0keyd\0")
    for thread, nanoseconds in tasks.items():
        (folder / "task" / str(thread)).mkdir(parents=True, exist_ok=True)
        (folder / "task" / str(thread) / "schedstat").write_text(f"{nanoseconds} 0 0\n")


def test_children_of_children_are_family_and_others_are_not(tmp_path: Path) -> None:
    for process_id, parent in ((10, 1), (11, 10), (12, 11), (13, 1)):
        _member(tmp_path, process_id, parent, 0, {})
    assert family([10], tmp_path) == [10, 11, 12]


def test_what_a_process_spent_has_its_main_thread_apart(tmp_path: Path) -> None:
    _member(tmp_path, 10, 1, TICKS_PER_S, {10: 500_000_000, 11: 0})
    before = look(10, tmp_path)
    _member(tmp_path, 10, 1, 3 * TICKS_PER_S, {10: 2_000_000_000, 11: 250_000_000})
    (spent,) = between(before, look(10, tmp_path))
    assert spent.role == "key service"
    assert (spent.total_s, spent.main_s, spent.others_s) == (2.0, 1.5, 0.5)
    assert spent.threads_s[11] == 0.25


def test_a_busy_child_is_seen() -> None:
    before = look(os.getpid())
    busy = "import time\nend = time.process_time() + 0.1\nwhile time.process_time() < end: pass\n"
    words = [sys.executable, "-c", busy + "print(flush=True); input()"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        found = {each.process_id: each for each in between(before, look(os.getpid()))}
        child.communicate(b"\n")
    assert 0.08 <= found[child.pid].main_s < 5.0
    assert time.process_time() > 0


@pytest.mark.parametrize(
    ("words", "role"),
    [
        (["python", "/x/hexagone", "up"], "gateway"),
        (["python", "-m", "gateway.main", "keyd"], "key service"),
        (["python", "-m", "storaged.main"], "node"),
        (["python", "-m", "bench.ceiling"], "ceiling"),
    ],
)
def test_roles(words: list[str], role: str) -> None:
    assert role_of(words) == role


def test_layers_add_up_to_what_proc_says() -> None:
    def stack(thread: int, count: int, frame: str) -> Stack:
        return Stack(process_id=1, thread_id=thread, thread_name="t", frames=(frame,), count=count)

    spent = Spent(
        role="gateway",
        process_id=1,
        user_s=0.5,
        system_s=0.5,
        main_s=0.8,
        threads_s={1: 0.8, 2: 0.15, 3: 0.05},
    )
    stacks = [
        stack(1, 3, "gateway.s3.http:f"),
        stack(1, 1, "gateway.commit.log:f"),
        stack(2, 1, "storaged.files:f"),
        stack(3, 100, "gateway.data.digests:f"),  # seen often, ran little
    ]
    layers = by_layer(stacks, [spent], [spent], 1000)
    assert list(layers) == list(LAYERS)
    assert layers["HTTP"] == pytest.approx((600.0, 0.0))
    assert layers["node"] == pytest.approx((0.0, 150.0))
    assert layers["hash"] == pytest.approx((0.0, 50.0))
    assert sum(map(sum, layers.values())) == pytest.approx(1000.0)


def test_copies_are_summed_from_what_perf_prints() -> None:
    rows = [
        "  100          hexagone:copy: (7f01) bytes=0x1000",
        "  101          hexagone:copy: (7f01) bytes=0x1000",
        "  100 syscalls:sys_exit_read: 0x200",
        "  100 syscalls:sys_exit_sendto: 0x80",
        "  100 syscalls:sys_exit_pwritev: 0x100",
        "perf: something else",
    ]
    found = read_events(rows)
    assert (found.user, found.kernel_in, found.kernel_out) == (8192, 512, 384)
    line = copies_line("PUT", found, 4096)
    assert (line["user"], line["kernel_in"], line["largest"]) == (2.0, 0.125, [(4096, 2)])


def test_the_librarys_memcpy_is_in_a_file() -> None:
    library, offset = memcpy_place()
    assert Path(library).exists() and 0 < offset < Path(library).stat().st_size


def test_what_the_kernel_counted_is_added_up(tmp_path: Path) -> None:
    for process_id in ("7", "8"):
        (tmp_path / process_id).mkdir()
        (tmp_path / process_id / "io").write_text("rchar: 5\nwchar: 7\nsyscr: 1\n")
    assert io_of([7, 8, 9], tmp_path) == (10, 14)
