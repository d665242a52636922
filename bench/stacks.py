"""Samples of a running gateway: how they are taken with py-spy, read, and summed up by layer.

py-spy looks without stopping the gateway (`--nonblocking`): to stop forty threads for each look
makes a PUT six times slower. A few looks come out torn; their innermost frames are right, which is
what the layers go by.
"""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.layers import LAYERS, OTHER, is_waiting, layer_of

SAMPLES_PER_S = 200
SPY_END_S = 60.0

_FRAME = re.compile(r"(?P<function>.*) \((?P<file>[^()]*?)(?::\d+)?\)")
_THREAD = re.compile(r"thread \((?:0x)?(?P<id>[0-9A-Fa-f]+)\)(?:: (?P<name>.*))?")
_PROCESS = re.compile(r'process (?P<id>\d+):".*"')


class NoSampler(Exception):
    """py-spy is not there, or may not look into other processes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """One stack and how often it was seen.

    Attributes:
        frames: `module:function`, the outermost first; without what starts the event loop.
    """

    process_id: int
    thread_id: int
    thread_name: str
    frames: tuple[str, ...]
    count: int


def frame_name(text: str) -> str:
    """`Log.commit_change (gateway/commit/log.py:93)` as `gateway.commit.log:Log.commit_change`."""
    found = _FRAME.fullmatch(text)
    if found is None:
        return text
    module = found["file"].removesuffix(".py").removesuffix("/__init__").strip("/")
    return f"{module.replace('/', '.')}:{found['function']}"


def _without_start(frames: list[str]) -> list[str]:
    """Frames from the event loop on: how a command came to start it says nothing."""
    for at in range(len(frames) - 1, -1, -1):
        if frames[at] == "asyncio.runners:Runner.run":
            return frames[at:]
    return frames


def read_stacks(text: str, root_process_id: int) -> list[Stack]:
    """Collapsed stacks `a;b;c count` as py-spy writes them; rows of another form are left out.

    Args:
        root_process_id: of rows that name no process.
    """
    found = []
    for row in text.splitlines():
        stack, _, count = row.rpartition(" ")
        if not stack or not count.isdigit():
            continue
        process_id, thread_id, thread_name = root_process_id, 0, ""
        frames = []
        for part in stack.split(";"):
            if process := _PROCESS.fullmatch(part):
                process_id = int(process["id"])
            elif thread := _THREAD.fullmatch(part):
                digits = thread["id"]
                thread_id = int(digits, 10 if digits.isdigit() else 16)
                thread_name = thread["name"] or ""
            else:
                frames.append(frame_name(part))
        found.append(
            Stack(
                process_id=process_id,
                thread_id=thread_id or process_id,
                thread_name=thread_name or "thread",
                frames=tuple(_without_start(frames)),
                count=int(count),
            )
        )
    return found


def py_spy() -> str | None:
    """Path of py-spy, beside this interpreter or on PATH."""
    beside = Path(sys.executable).with_name("py-spy")
    return str(beside) if beside.exists() else shutil.which("py-spy")


@contextmanager
def sampling(process_id: int, sink: Path) -> Iterator[None]:
    """Look at a process and its children while the body runs; the stacks are in `sink` after it.

    Raises:
        NoSampler: py-spy is missing, or ended with an error.
    """
    tool = py_spy()
    if tool is None:
        raise NoSampler("py-spy is not installed")
    words = [tool, "record", "--pid", str(process_id), "--rate", str(SAMPLES_PER_S)]
    words += ["--nonblocking", "--threads", "--subprocesses", "--format", "raw"]
    words += ["--output", str(sink)]
    spy = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        yield
    finally:
        spy.send_signal(signal.SIGINT)
        try:
            _, told = spy.communicate(timeout=SPY_END_S)
        except subprocess.TimeoutExpired:
            spy.kill()
            spy.communicate()
            raise NoSampler(f"py-spy did not end within {SPY_END_S:g} s") from None
    if not sink.exists():
        raise NoSampler(f"py-spy: {told.decode('utf-8', 'replace')[-400:]}")


def own_time(stacks: Iterable[Stack]) -> list[tuple[float, str]]:
    """(share, function) by time in the function itself, waiting left out, the largest first."""
    own: dict[str, int] = {}
    for stack in stacks:
        if stack.frames and not is_waiting(stack.frames):
            own[stack.frames[-1]] = own.get(stack.frames[-1], 0) + stack.count
    total = sum(own.values())
    ordered = sorted(own.items(), key=lambda item: item[1], reverse=True)
    return [(count / total, name) for name, count in ordered]


def shares(
    stacks: Iterable[Stack], weigh: Callable[[Stack], float], *, is_main: bool
) -> dict[str, float]:
    """Share of each layer in the work of the main threads, or of all the others.

    Args:
        weigh: how much one sample of a stack counts: a thread that is seen often need not run
            often, so its processor time is shared among its samples.

    Returns:
        Shares that add up to 1, every layer in it; all `other` where nothing was seen.
    """
    found = dict.fromkeys(LAYERS, 0.0)
    for stack in stacks:
        if is_waiting(stack.frames) or (stack.thread_id == stack.process_id) is not is_main:
            continue
        found[layer_of(stack.frames)] += stack.count * weigh(stack)
    total = sum(found.values())
    if not total:
        return found | {OTHER: 1.0}
    return {layer: value / total for layer, value in found.items()}
