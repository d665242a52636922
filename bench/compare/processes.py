"""Processes of a system under comparison: start, end, memory, processor time.

Only processes that were started here are ever signalled, by their ids.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.processor import family

STOP_S = 60.0
PORTS_FROM, PORTS_TO = 10_000, 19_900  # below those of `bench.cluster` and of outgoing connections
PORTS_EACH = 40


class SystemFailed(Exception):
    """A system did not start, did not answer, or ended on its own."""


_given: list[int] = []


def ports() -> int:
    """The first of `PORTS_EACH` ports in a row that nobody listens on or was given.

    Raises:
        SystemFailed: there are none.
    """
    first = PORTS_FROM + os.getpid() % 50 * PORTS_EACH
    for port in range(first, PORTS_TO, PORTS_EACH):
        if port in _given:
            continue
        try:
            for each in range(port, port + PORTS_EACH):
                socket.create_server(("127.0.0.1", each)).close()
        except OSError:
            continue
        _given.append(port)
        return port
    raise SystemFailed("no free ports")


def memory_mib(roots: Iterable[int]) -> tuple[float, float]:
    """(resident memory, of it anonymous) of these processes and their descendants.

    Pages that several of them share count once (PSS), so systems of many processes are not charged
    for their program's text again and again. What is not anonymous are pages of files, among them
    those of databases that are mapped; the kernel can take them away.
    """
    resident = anonymous = 0
    for pid in family(roots):
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()
        except OSError:
            continue
        resident += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
        anonymous += sum(int(line.split()[1]) for line in lines if line.startswith("Pss_Anon:"))
    return resident / 1024, anonymous / 1024


@dataclass(slots=True)
class Daemons:
    """The processes of one system, with their output in files of its folder."""

    folder: Path
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)
    named: dict[str, int] = field(default_factory=dict)  # name → id of its process

    def start(
        self,
        name: str,
        words: Sequence[str | Path],
        *,
        settings: dict[str, str] | None = None,
    ) -> None:
        """Start one process; its output goes to `NAME.log`."""
        with (self.folder / f"{name}.log").open("ab") as output:
            process = subprocess.Popen(
                [*map(str, words)],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                cwd=self.folder,
                env={**os.environ, **(settings or {})},
            )
        self.running.append(process)
        self.named[name] = process.pid

    def pids(self) -> list[int]:
        return [process.pid for process in self.running]

    def check(self) -> None:
        """
        Raises:
            SystemFailed: one of them ended; the message holds the end of its output.
        """
        for process in self.running:
            if process.poll() is not None:
                words = process.args if isinstance(process.args, list) else [process.args]
                raise SystemFailed(f"{words[:2]} ended with {process.returncode}: {self.tails()}")

    def tails(self) -> str:
        """The end of every log."""
        ends = []
        for log in sorted(self.folder.glob("*.log")):
            ends.append(f"{log.name}: …{log.read_text('utf-8', 'replace')[-400:]}")
        return "\n".join(ends)

    def stop(self) -> None:
        """Ask all to end, the last started first; kill what is still there after a minute."""
        for process in reversed(self.running):
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_S
        for process in self.running:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.running.clear()


def wait_for_port(port: int, daemons: Daemons, *, seconds: float = 60.0) -> None:
    """Wait until something accepts connections on a loopback port.

    Raises:
        SystemFailed: nothing does in time, or a process ended.
    """
    deadline = time.monotonic() + seconds
    while True:
        daemons.check()
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise SystemFailed(f"no one listens on {port}: {daemons.tails()}") from None
            time.sleep(0.02)


def run_tool(words: Sequence[str | Path], *, text: str = "", seconds: float = 60.0) -> str:
    """Run a peer's own command to its end; its output.

    Raises:
        SystemFailed: it ended with an error or took too long.
    """
    try:
        done = subprocess.run(
            [*map(str, words)], input=text, capture_output=True, text=True, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        raise SystemFailed(f"{words[0]} took more than {seconds} s") from None
    if done.returncode:
        raise SystemFailed(f"{words[:4]}: {(done.stderr or done.stdout)[-600:]}")
    return done.stdout
