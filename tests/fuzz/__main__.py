"""Fuzzing of what reads clients' bytes: `make fuzz`, guided by coverage.

Usage: python -m tests.fuzz [TARGET …] [--seconds N] [--folder DIR]

Each target runs in a process of its own for so many seconds, in a folder that keeps what it has
found (the corpus; by default in the cache of the user). One input that takes STEP_S, an error that
would be answered with 500, or one that is none of ours, ends the run with status 1 and leaves the
input in the folder.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

from tests.fuzz.targets import TARGETS

STEP_S = 5
INPUT_BYTES_MAX = 4096
MEMORY_MIB_MAX = 2048
WORKER = """
import sys
import atheris
name = sys.argv.pop(1)
with atheris.instrument_imports(include=["gateway"]):
    from tests.fuzz import targets
atheris.Setup(sys.argv, lambda data: targets.run(name, data))
atheris.Fuzz()
"""
ROOT = Path(__file__).resolve().parents[2]


def fuzz(name: str, seconds: int, folder: Path) -> bool:
    """Run one target; says whether nothing was found."""
    corpus = folder / name
    corpus.mkdir(parents=True, exist_ok=True)
    limits = [
        f"-max_total_time={seconds}",
        f"-timeout={STEP_S}",
        f"-max_len={INPUT_BYTES_MAX}",
        f"-rss_limit_mb={MEMORY_MIB_MAX}",
        f"-artifact_prefix={corpus}/found-",
        "-print_final_stats=1",
    ]
    done = subprocess.run(
        [sys.executable, "-c", WORKER, name, *limits, str(corpus)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    lines = done.stderr.splitlines()
    runs = [line.split()[-1] for line in lines if "number_of_executed_units" in line]
    is_clean = done.returncode == 0
    print(f"{name}: {runs[-1] if runs else '?'} inputs, {'clean' if is_clean else 'FAILED'}")
    if not is_clean:
        print("\n".join(lines[-40:]))
    return is_clean


def main() -> int:
    """Run targets; returns the exit status."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("targets", nargs="*", choices=[[], *TARGETS])
    options.add_argument("--seconds", type=int, default=60, help="for each target")
    options.add_argument("--folder", type=Path, default=Path.home() / ".cache" / "hexagone-fuzz")
    chosen = options.parse_args()
    names = chosen.targets or list(TARGETS)
    clean = [fuzz(name, chosen.seconds, chosen.folder) for name in names]
    return 0 if all(clean) else 1


if __name__ == "__main__":
    sys.exit(main())
