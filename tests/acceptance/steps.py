"""What drills are made of: steps that say what they did and how long it took, a tree like a user's,
and the page with the transcript of a whole run.

Not for what a drill proves: each has a module of its own beside this one.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent


class StepFailed(Exception):
    """A step did not do what it must."""


def make_tree(folder: Path, files: int) -> int:
    """A tree like a user's: many small files, some larger, odd names; returns its bytes."""
    rng = random.Random(20_260)
    total = 0
    for number in range(files):
        size = int(rng.paretovariate(1.1) * 700)
        size = min(size, 24 * 1024 * 1024) if number % 1000 else 12 * 1024 * 1024
        name = f"file {number}é.bin" if number % 97 == 0 else f"file-{number:05d}.dat"
        path = folder / f"dir{number % 40:02d}" / f"sub{number % 7}" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.randbytes(size))
        total += size
    (folder / "empty").write_bytes(b"")
    return total


def read_exports(path: Path) -> dict[str, str]:
    """The environment that `source aws.env` gives."""
    lines = path.read_text().splitlines()
    pairs = (line.removeprefix("export ").split("=", 1) for line in lines)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("AWS_")}
    environment.update(dict(pairs))
    environment["PATH"] = f"{BIN}:{environment['PATH']}"
    return environment


class Transcript:
    """The steps of a run, in order."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, text: str) -> None:
        print(text, flush=True)
        self.lines.append(text)

    def step(self, title: str, action: Callable[[], str | None]) -> None:
        """Do one step. Raises: StepFailed."""
        started = time.monotonic()
        try:
            note = action()
        except (StepFailed, subprocess.CalledProcessError, OSError) as error:
            self.say(f"FAIL  {title}: {error}")
            if isinstance(error, subprocess.CalledProcessError):
                self.say(f"{error.stdout or ''}{error.stderr or ''}"[-3000:])
            raise StepFailed(title) from error
        took = time.monotonic() - started
        self.say(f"ok    {title}{': ' + note if note else ''}  [{took:.1f} s]")

    def write_page(
        self, path: Path, intro: Sequence[str], versions: Sequence[Sequence[str]]
    ) -> None:
        """Write the page of a whole run.

        Args:
            intro: title and what the run proves.
            versions: commands whose first line of output says a version.
        """
        shown = "; ".join(_first_line(command) for command in versions)
        revision = _first_line(["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"])
        text = "\n".join(
            [
                *intro,
                "",
                f"Revision `{revision}`, {time.strftime('%Y-%m-%d')}, {os.cpu_count()} cores, "
                f"{platform.system()} {platform.release().split('-')[0]}, "
                f"Python {platform.python_version()}; {shown}.",
                "",
                "```",
                *self.lines,
                "```",
                "",
            ]
        )
        path.write_text(text)


class Drill(Protocol):
    """A run of steps over a folder."""

    def run(self) -> None:
        """Do all of them. Raises: StepFailed, LookupError."""
        ...

    def end(self) -> None:
        """Stop whatever still runs of it."""
        ...

    def write_page(
        self, path: Path, intro: Sequence[str], versions: Sequence[Sequence[str]]
    ) -> None:
        """See `Transcript`."""
        ...


def run_drill(
    usage: str,
    name: str,
    make: Callable[[Path, int], Drill],
    intro: Sequence[str],
    versions: Sequence[Sequence[str]],
    *,
    files: int,
) -> int:
    """Run a drill as its command does; the exit code.

    Args:
        make: a drill in a folder of its own, over a tree of so many files.
        files: in the tree, where the command does not say otherwise.
    """
    options = argparse.ArgumentParser(description=usage)
    options.add_argument("--files", type=int, default=files)
    options.add_argument("--keep", action="store_true", help="leave the folder of the run")
    options.add_argument("--report", type=Path, help="write the transcript here when all passes")
    chosen = options.parse_args()
    work = Path(tempfile.mkdtemp(prefix=f"hexagone-{name}-"))
    drill = make(work, chosen.files)
    try:
        drill.run()
    except (StepFailed, LookupError) as error:
        print(f"failed: {error!r}; the folder of the run is {work}", file=sys.stderr)
        chosen.keep = True
        return 1
    finally:
        drill.end()
        if not chosen.keep:
            shutil.rmtree(work, ignore_errors=True)
    if chosen.report:
        drill.write_page(chosen.report, intro, versions)
    return 0


def _first_line(command: Sequence[str]) -> str:
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    return (done.stdout or done.stderr).splitlines()[0]
