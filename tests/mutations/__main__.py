"""`python -m tests.mutations [NAME …]` plants bugs, one at a time, and says whether tests see them.

Each is a guard taken away in a private copy of the tree; the commands named beside it must all fail
there, and pass in a copy without it. Not part of `make test`: it takes too long.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from enum import Enum
from pathlib import Path

from tests.mutations import admins, attacks, hsm, operators, rotations, table
from tests.mutations.table import Command, Mutation, Sim

MUTATIONS = (
    *table.MUTATIONS,
    *admins.MUTATIONS,
    *attacks.MUTATIONS,
    *hsm.MUTATIONS,
    *operators.MUTATIONS,
    *rotations.MUTATIONS,
)
ROOT = Path(__file__).resolve().parents[2]
COPIED = ("gateway", "storaged", "tests", "docs", "pyproject.toml")
COMMAND_S = 900.0


class Result(Enum):
    """What became of one command on one planted bug."""

    CAUGHT = "caught"
    MISSED = "MISSED"
    ABSURD = "ABSURD"  # the tests did not run, which proves nothing
    STALE = "STALE"  # the text to change is not there once


@contextmanager
def _copy() -> Iterator[Path]:
    """A private copy of what is tested, so that nobody's edits meanwhile decide anything."""
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        there = Path(folder)
        ignored = shutil.ignore_patterns("__pycache__")
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, there / name, ignore=ignored)
            else:
                shutil.copy(ROOT / name, there / name)
        yield there


def _run(command: Command, folder: Path) -> Result:
    """Whether the command fails in this copy; one that does not end has failed."""
    if isinstance(command, Sim):
        words = ["-m", "tests.sim", "--count", str(command.count), "--stop"]
    else:
        words = ["-m", "pytest", "-x", "-p", "no:cacheprovider", command]
    environment = {
        **os.environ,
        "PYTHONPATH": str(folder),
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",  # a change within a second could be taken for none
    }
    try:
        ended = subprocess.run(
            [sys.executable, *words],
            cwd=folder,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=COMMAND_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Result.CAUGHT
    return {0: Result.MISSED, 1: Result.CAUGHT}.get(ended.returncode, Result.ABSURD)


@contextmanager
def _planted(mutation: Mutation, folder: Path) -> Iterator[bool]:
    """The bug in the copy, and out again; False when the text to change is not there once."""
    file = folder / mutation.file
    text = file.read_text()
    file.write_text(text.replace(mutation.old, mutation.new))
    try:
        yield text.count(mutation.old) == 1
    finally:
        file.write_text(text)


def _name(command: Command) -> str:
    return f"simulation, {command.count} seeds" if isinstance(command, Sim) else command


def _judge(mutation: Mutation, folder: Path) -> list[tuple[str, Result]]:
    with _planted(mutation, folder) as fits:
        if not fits:
            return [(mutation.file, Result.STALE)]
        return [(_name(command), _run(command, folder)) for command in mutation.seen_by]


def _broken(mutations: Sequence[Mutation], folder: Path) -> list[str]:
    """Commands that fail without any planted bug, so that their failing would say nothing."""
    commands = dict.fromkeys(command for m in mutations for command in m.seen_by)
    return [_name(c) for c in commands if _run(c, folder) is not Result.MISSED]


def main() -> int:
    """Plant each; 1 when one was missed, or nothing can be said."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutations", description=__doc__)
    parser.add_argument("names", nargs="*", help="these only")
    parser.add_argument("--no-baseline", action="store_true", help="take it that all tests pass")
    parser.add_argument("--no-sim", action="store_true", help="without the simulation")
    arguments = parser.parse_args()
    chosen = [m for m in MUTATIONS if not arguments.names or m.name in arguments.names]
    if arguments.no_sim:
        chosen = [
            replace(m, seen_by=tests)
            for m in chosen
            if (tests := tuple(c for c in m.seen_by if not isinstance(c, Sim)))
        ]
    with _copy() as folder:
        if not arguments.no_baseline and (broken := _broken(chosen, folder)):
            print(f"these fail without any planted bug: {', '.join(broken)}")
            return 1
        return _report(chosen, folder)


def _report(chosen: Sequence[Mutation], folder: Path) -> int:
    began_s = time.monotonic()
    caught = 0
    for mutation in chosen:
        outcomes = _judge(mutation, folder)
        caught += all(result is Result.CAUGHT for _, result in outcomes)
        for name, result in outcomes:
            print(f"{mutation.name:32} {result.value:8} {name}", flush=True)
    print(f"caught {caught} of {len(chosen)} in {time.monotonic() - began_s:.0f} s")
    return 0 if caught == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
