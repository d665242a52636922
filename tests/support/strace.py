"""strace as a fault injector: kill a process at a chosen call of a chosen thread, or make a call
fail.

Not for tracing at length. What is injected counts calls from the moment of attaching.
"""

from __future__ import annotations

import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

# Calls that change nothing outside the process: a kill before or after them is the same kill.
QUIET = (
    "!futex,epoll_wait,epoll_pwait,clock_nanosleep,clock_gettime,sched_yield,madvise,mprotect,"
    "rt_sigprocmask,getpid,gettid,brk,restart_syscall,fstat,newfstatat,lseek"
)
ATTACH_S = 100.0  # on a machine that does much else; strace that has ended is not waited for
_CALL = re.compile(r"^(?:\[pid +\d+\] |\d+ +)?(\w+)\(")


class Strace:
    """strace on threads of a running process, as a context.

    Args:
        tasks: thread ids; with `follow` all threads of the process of the first.
        expressions: `-e` expressions.
        output: where what it prints goes.
    """

    def __init__(
        self, tasks: Sequence[int], *expressions: str, output: Path, follow: bool = False
    ) -> None:
        command = ["strace", "-o", str(output)]
        if follow:
            command.append("-f")
        for expression in expressions:
            command += ["-e", expression]
        for task in tasks:
            command += ["-p", str(task)]
        self.output = output
        self._says = output.with_name(f"{output.name}.says")
        self._tasks = tasks
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Strace:
        """Attach. A task that the kernel shows as traced need not stop yet: it does from when
        strace says so.
        """
        with self._says.open("wb") as says:
            self._process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=says)
        deadline = time.monotonic() + ATTACH_S
        while not all(map(self._has_attached_or_gone, self._tasks)):
            ended = self._process.poll() is not None and any(map(_is_running, self._tasks))
            if time.monotonic() > deadline or ended:
                self._process.kill()
                self._process.wait()
                said = self._says.read_text(errors="replace")[-500:]
                raise AssertionError(f"strace did not attach: {' '.join(self._command)}: {said}")
            time.sleep(0.005)
        return self

    def _has_attached_or_gone(self, task: int) -> bool:
        """A call that the injection was for may come before anybody has looked."""
        said = self._says.read_text(errors="replace")
        return f"Process {task} attached" in said or not _is_running(task)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._process is not None
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def calls(self) -> Counter[str]:
        """How often each call was seen."""
        found: Counter[str] = Counter()
        for line in self.output.read_text(errors="replace").splitlines():
            match = _CALL.match(line)
            if match is not None:
                found[match[1]] += 1
        return found


def _is_running(task: int) -> bool:
    try:
        status = Path(f"/proc/{task}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return "State:\tZ" not in status and "State:\tX" not in status
