"""Bytes copied for each byte stored or served, counted while a job runs.

Method, with perf and as root: a uprobe on the C library's memcpy (which is its memmove too) adds up
the lengths of at least 256 bytes, in every thread of the gateway and its children; and what the
kernel copies is what read, write, send and receive calls return. Not counted: shorter copies,
copies that a compiler or a cipher makes without the library, zeroing. Nothing else in the machine
is slowed. Without perf only /proc/PID/io tells, which knows neither copies in user space nor
sockets that are read by recv: such a line says so.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.processor import family

COPY_BYTES_MIN = 256
PERF_S = 60.0
RING_PAGES = 256
GROUP = "hexagone"
READS = ("read", "readv", "pread64", "preadv", "preadv2", "recvfrom", "recvmsg")
WRITES = ("write", "writev", "pwrite64", "pwritev", "pwritev2", "sendto", "sendmsg", "sendfile64")
_EVENT = re.compile(r"(?P<group>\w+):(?P<name>\w+):.*?(?:bytes=|0x)(?P<hex>0x[0-9a-f]+|[0-9a-f]+)")


class NoCounter(Exception):
    """Copies cannot be counted here."""


@dataclass(slots=True)
class Copies:
    """Bytes, summed over processes and threads."""

    method: str = ""
    user: int | None = None
    kernel_in: int = 0
    kernel_out: int = 0
    lengths: Counter[int] = field(default_factory=Counter)  # length of a memcpy → how many


def memcpy_place() -> tuple[str, int]:
    """File of the C library and the offset in it of the memcpy this machine uses.

    Raises:
        NoCounter: it is in no mapped file.
    """
    address = ctypes.cast(ctypes.CDLL(None).memcpy, ctypes.c_void_p).value or 0
    for row in Path("/proc/self/maps").read_text("utf-8").splitlines():
        words = row.split()
        low, high = (int(edge, 16) for edge in words[0].split("-"))
        if low <= address < high and len(words) > 5:
            return words[5], address - low + int(words[2], 16)
    raise NoCounter("memcpy is in no file")


def _perf(*words: str) -> str:
    done = subprocess.run(
        ["perf", *words], capture_output=True, text=True, timeout=PERF_S, check=False
    )
    if done.returncode:
        raise NoCounter(f"perf {words[0]}: {done.stderr.strip()[-300:]}")
    return done.stdout


def read_events(rows: Iterable[str]) -> Copies:
    """Sum up what `perf script` prints: `GROUP:name: … bytes=0x…` or `syscalls:…: 0x…`."""
    found = Copies(method="perf: uprobe on memcpy, results of system calls", user=0)
    copied = 0
    for row in rows:
        event = _EVENT.search(row)
        if event is None:
            continue
        length = int(event["hex"], 16)
        if event["group"] == GROUP:
            copied += length
            found.lengths[length] += 1
        elif event["name"].removeprefix("sys_exit_") in READS:
            found.kernel_in += length
        else:
            found.kernel_out += length
    found.user = copied
    return found


def _events() -> list[str]:
    words = ["-e", f"{GROUP}:copy", "--filter", f"bytes >= {COPY_BYTES_MIN}"]
    for call in (*READS, *WRITES):
        words += ["-e", f"syscalls:sys_exit_{call}", "--filter", "ret > 0"]
    return words


@contextmanager
def _probe() -> Iterator[None]:
    library, offset = memcpy_place()
    with contextlib.suppress(NoCounter):  # one that an earlier run left
        _perf("probe", "--del", f"{GROUP}:copy")
    _perf("probe", "-x", library, "--add", f"{GROUP}:copy=0x{offset:x} bytes=%dx")
    try:
        yield
    finally:
        _perf("probe", "--del", f"{GROUP}:copy")


@contextmanager
def _by_perf(process_ids: list[int]) -> Iterator[Copies]:
    found = Copies()
    with tempfile.TemporaryDirectory(prefix="hexagone-copies-") as folder, _probe():
        data = Path(folder) / "perf.data"
        ask_out, ask_in = os.pipe()
        said_out, said_in = os.pipe()
        words = ["perf", "record", "-q", "-D", "-1", "-m", str(RING_PAGES), "-o", str(data)]
        words += ["--control", f"fd:{ask_out},{said_in}", *_events()]
        words += ["-p", ",".join(map(str, process_ids))]
        with subprocess.Popen(
            words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, pass_fds=(ask_out, said_in)
        ) as perf:
            os.close(ask_out)
            os.close(said_in)
            try:
                _told(perf, ask_in, said_out, b"enable\n")
                yield found
                _told(perf, ask_in, said_out, b"stop\n")
            finally:
                os.close(ask_in)
                os.close(said_out)
                if perf.poll() is None:
                    perf.terminate()
                _, words_of_perf = perf.communicate(timeout=PERF_S)
        if b"lost" in words_of_perf.lower():
            raise NoCounter(f"perf lost events: {words_of_perf.decode()[-200:]}")
        counted = read_events(
            _perf("script", "-i", str(data), "-F", "pid,event,trace").splitlines()
        )
    found.method, found.user, found.lengths = counted.method, counted.user, counted.lengths
    found.kernel_in, found.kernel_out = counted.kernel_in, counted.kernel_out


def _told(perf: subprocess.Popen[bytes], ask: int, said: int, word: bytes) -> None:
    os.write(ask, word)
    if not os.read(said, 64).startswith(b"ack"):
        raise NoCounter(f"perf did not {word.decode().strip()} (status {perf.poll()})")


def io_of(process_ids: Iterable[int], proc: Path = Path("/proc")) -> tuple[int, int]:
    """(bytes read, bytes written) by system calls of these processes since they began."""
    read = written = 0
    for process_id in process_ids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            text = (proc / str(process_id) / "io").read_text("ascii")
            fields = dict(row.split(": ") for row in text.splitlines())
            read += int(fields["rchar"])
            written += int(fields["wchar"])
    return read, written


@contextmanager
def counting(process_id: int) -> Iterator[Copies]:
    """Count while the body runs; the figures are there after it.

    Raises:
        NoCounter: perf is there and failed.
    """
    members = family([process_id])
    if shutil.which("perf") and os.geteuid() == 0 and _can_trace():
        with _by_perf(members) as found:
            yield found
        return
    found = Copies(method="/proc/PID/io; needs perf, root and tracefs for copies in user space")
    before = io_of(members)
    yield found
    after = io_of(members)
    found.kernel_in, found.kernel_out = after[0] - before[0], after[1] - before[1]


def _can_trace() -> bool:
    return any(
        Path(place, "uprobe_events").exists()
        for place in ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")
    )
