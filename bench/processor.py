"""Processor time of a process and its children, out of /proc: main threads apart from the others.

For Linux. A thread that ended between two looks counts with its process, not by itself.
Source: proc(5).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Seconds of processor time of one process since it began."""

    role: str
    user_s: float
    system_s: float
    threads_s: dict[int, float] = field(default_factory=dict)

    @property
    def total_s(self) -> float:
        return self.user_s + self.system_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """Processor time of one process between two looks, in seconds."""

    role: str
    process_id: int
    user_s: float
    system_s: float
    main_s: float
    threads_s: dict[int, float]

    @property
    def total_s(self) -> float:
        return self.user_s + self.system_s

    @property
    def others_s(self) -> float:
        """All but the main thread, threads that ended included."""
        return max(self.total_s - self.main_s, 0.0)


def _stat(text: str) -> tuple[int, float, float]:
    """(parent, user seconds, system seconds) of a line of /proc/PID/stat.

    The name of the command may hold spaces and parentheses: fields are counted behind the last one.
    """
    fields = text.rpartition(")")[2].split()
    return int(fields[1]), int(fields[11]) / TICKS_PER_S, int(fields[12]) / TICKS_PER_S


def family(roots: Iterable[int], proc: Path = PROC) -> list[int]:
    """Processes and all that descend from them, as far as they are there, the oldest first."""
    children: dict[int, list[int]] = {}
    for entry in proc.iterdir():
        if entry.name.isdigit():
            try:
                parent, _, _ = _stat((entry / "stat").read_text("utf-8", "replace"))
            except (FileNotFoundError, ProcessLookupError):  # it ended meanwhile
                continue
            children.setdefault(parent, []).append(int(entry.name))
    found = list(roots)
    for known in found:
        found += sorted(children.get(known, []))
    return found


def cpu_s(roots: Iterable[int], proc: Path = PROC) -> float:
    """Seconds of processor time of these processes and their descendants since they began."""
    spent_s = 0.0
    for member in family(roots, proc):
        try:
            _, user_s, system_s = _stat((proc / str(member) / "stat").read_text("utf-8", "replace"))
        except (FileNotFoundError, ProcessLookupError):
            continue
        spent_s += user_s + system_s
    return spent_s


def role_of(words: list[str]) -> str:
    """A short name for a process, from its command line."""
    if "keyd" in words:
        return "key service"
    for word in words:
        if word.endswith("storaged") or word == "storaged.main":
            return "node"
    for word in words:
        if word.endswith("hexagone") or word.startswith(("gateway.", "bench.")):
            return "ceiling" if word == "bench.ceiling" else "gateway"
    return Path(words[0]).name if words else "process"


def _thread_s(task: Path) -> float:
    """Seconds of one thread: to the nanosecond where the kernel counts so, else in ticks."""
    try:
        return int((task / "schedstat").read_text("ascii").split()[0]) / 1e9
    except (FileNotFoundError, IndexError):
        _, user_s, system_s = _stat((task / "stat").read_text("utf-8", "replace"))
        return user_s + system_s


def look(process_id: int, proc: Path = PROC) -> dict[int, Times]:
    """Times of a process and its children at this moment."""
    found = {}
    for member in family([process_id], proc):
        folder = proc / str(member)
        try:
            _, user_s, system_s = _stat((folder / "stat").read_text("utf-8", "replace"))
            words = (folder / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        threads_s = {}
        for task in (folder / "task").iterdir():
            try:
                threads_s[int(task.name)] = _thread_s(task)
            except (FileNotFoundError, ProcessLookupError):
                continue
        found[member] = Times(
            role=role_of([word for word in words if word]),
            user_s=user_s,
            system_s=system_s,
            threads_s=threads_s,
        )
    return found


def between(before: dict[int, Times], after: dict[int, Times]) -> list[Spent]:
    """What each process spent from one look to the other; one that began meanwhile from nothing."""
    found = []
    for process_id, times in after.items():
        old = before.get(process_id, Times(role=times.role, user_s=0.0, system_s=0.0))
        threads_s = {
            thread: max(seconds - old.threads_s.get(thread, 0.0), 0.0)
            for thread, seconds in times.threads_s.items()
        }
        found.append(
            Spent(
                role=times.role,
                process_id=process_id,
                user_s=times.user_s - old.user_s,
                system_s=times.system_s - old.system_s,
                main_s=threads_s.get(process_id, 0.0),
                threads_s=threads_s,
            )
        )
    return found
