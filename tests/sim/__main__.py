"""`python -m tests.sim --seed N` runs one seed, `--count N` the first N (or `--from M`).

A failing seed prints its violations, its commit and the one command that runs it again.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections import Counter

HASH_SEED = "0"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seed", type=int, help="run this seed only, and show its trace")
    parser.add_argument("--count", type=int, default=200, help="run so many seeds")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first of them")
    parser.add_argument("--stop", action="store_true", help="stop at the first failure")
    parser.add_argument("--traceback", action="store_true", help="let errors of a run through")
    return parser.parse_args()


def _commit() -> str:
    asked = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return asked.stdout.strip() or "unknown"


def main() -> int:
    """Run the seeds; 1 when one of them failed."""
    if os.environ.get("PYTHONHASHSEED") != HASH_SEED:
        os.environ["PYTHONHASHSEED"] = HASH_SEED
        os.execv(sys.executable, [sys.executable, "-m", "tests.sim", *sys.argv[1:]])
    from tests.sim.run import Outcome, run

    arguments = _arguments()
    seeds = range(arguments.first, arguments.first + arguments.count)
    if arguments.seed is not None:
        seeds = range(arguments.seed, arguments.seed + 1)
    began_s = time.monotonic()
    failed: list[int] = []
    counts: Counter[str] = Counter()
    ran = 0
    for seed in seeds:
        ran += 1
        outcome: Outcome = run(seed)
        counts += outcome.counts
        if arguments.seed is not None:
            print("\n".join(outcome.lines))
            print(f"{outcome.shape}\n{dict(outcome.counts)}")
            print(f"trace {outcome.trace_hash}, {outcome.virtual_s:.0f} virtual seconds")
        if outcome.violations:
            failed.append(seed)
            print(f"seed={seed} commit={_commit()} trace={outcome.trace_hash}")
            for violation in outcome.violations[:5]:
                print(f"  {violation}")
            print(f"  again: make sim SEED={seed}", flush=True)
            if arguments.stop:
                break
    took_s = time.monotonic() - began_s
    print(f"{ran} seeds in {took_s:.1f} s, {len(failed)} failed {failed or ''}")
    print(", ".join(f"{name} {count}" for name, count in sorted(counts.items())))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
