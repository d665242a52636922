"""`python -m tests.attacks` writes docs/security-tests.md."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

from tests.attacks.found import Test, by_attack
from tests.attacks.table import AS_S3, ATTACKS, AWAITING

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "security-tests.md"
HEAD = """# Attacks and their tests

What endpoint, keys, nodes, locks, journal and bills must stand, by id, and the tests that fail if
they no longer do. This page is written by `python -m tests.attacks`; a test
(`tests/test_attacks.py`) fails if an attack has no test and no reason, if a test names an id that
is not here, or if the page is not what would be written. Requirements and adversaries have
[a page of their own](requirements.md).

Two matrices are made from the route table, so that an operation without a row fails by itself
(`tests/support/route_matrix.py`): every route with every kind of wrong signature
(`test_http_auth.py`), and every route asked by the owner, by another account and by nobody
(`test_access_matrix.py`, `test_attacks_oracles.py`), beside the actions that each operation needs
(`test_access_actions.py`). Locks of objects have their own attacks (`test_attacks_locks.py`),
keys of clients too (`test_attacks_keys.py`). Guards taken away one at a time: `make mutations`. Any
bytes at what reads clients' bytes: `make fuzz`.

| id | attack | tests |
|---|---|---|
"""


def _told(tests: list[Test]) -> str:
    files = []
    for file, group in groupby(sorted(tests), key=lambda test: test.file):
        names = ", ".join(test.name.removeprefix("test_") for test in group)
        files.append(f"`{file}`: {names}")
    return "; ".join(files)


def document() -> str:
    """The whole page."""
    found = by_attack()
    rows = [f"| {key} | {what} | {_told(found.get(key, []))} |" for key, what in ATTACKS.items()]
    awaiting = [f"- **{key}**: {why}" for key, why in AWAITING.items()]
    as_s3 = [f"- **{key}**: {why}" for key, why in AS_S3.items()]
    return (
        HEAD
        + "\n".join(rows)
        + "\n\n## What cannot be tried yet\n\n"
        + "\n".join(awaiting)
        + "\n\n## Where the endpoint does as S3 does\n\n"
        + "\n".join(as_s3)
        + "\n"
    )


if __name__ == "__main__":
    DOCUMENT.write_text(document(), encoding="utf-8")
