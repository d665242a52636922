"""`python -m tests.requirements` prints requirement → tests and writes docs/requirements.md; exit
code 1 where one that must have a test has none, or a test names an id that is nowhere.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path

from tests.attacks.found import Test, marked, named_by
from tests.attacks.table import ATTACKS, AWAITING
from tests.requirements.table import MUST, REQUIREMENTS, WITHOUT

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "requirements.md"
_IN_NAME = re.compile(r"test_(?:([kl])_?([0-9]{2})|([ci])([0-9]{1,2}))_")
HEAD = """# Requirements and their tests

By id: what is required, whom it withstands, and the tests that fail if it no longer holds. This
page is written by `make matrix` (`python -m tests.requirements`), from marks at the tests
(`@pytest.mark.proves("K-10")`); it fails where an attack or adversary that must have a test has
none. A test proves what it tries, not the whole of a requirement: read it before you rely on it.
Attacks have [a page of their own](security-tests.md). A file without names of tests stands for all
of them.
"""


def proofs_by_id() -> dict[str, set[Test]]:
    """Tests by the ids they name; all of a file as a test without a name."""
    found: dict[str, set[Test]] = {}
    for one in marked():
        told = named_by(one.node)
        match = _IN_NAME.match(one.test.name)
        if match:
            kind, number, short, digits = match.groups()
            told |= {f"{kind.upper()}-{number}" if kind else f"{short.upper()}{digits}"}
        for named in told | (one.ids - one.by_module):
            found.setdefault(named, set()).add(one.test)
        for named in one.by_module:
            found.setdefault(named, set()).add(Test(one.test.file, ""))
    return found


def unknown(found: Iterable[str]) -> list[str]:
    """Ids that tests name and no table has."""
    known = {one for group in REQUIREMENTS.values() for one in group} | ATTACKS.keys()
    return sorted({*found} - known)


def missing(found: dict[str, set[Test]]) -> list[str]:
    """Ids that must have a test and have none."""
    return [one for one in MUST if not found.get(one)]


def _told(tests: set[Test]) -> str:
    files = []
    for file, group in groupby(sorted(tests), key=lambda test: test.file):
        names = [test.name.removeprefix("test_") for test in group if test.name]
        files.append(f"`{file}`" + (f": {', '.join(names)}" if names else ""))
    return "; ".join(files)


def document(found: dict[str, set[Test]]) -> str:
    """The whole page."""
    lines = [HEAD]
    for title, group in REQUIREMENTS.items():
        lines += [f"\n## {title}\n\n| id | what | tests |\n|---|---|---|\n"]
        for one, what in group.items():
            told = _told(found.get(one, set())) or f"*{WITHOUT.get(one, 'no test of its own')}*"
            lines.append(f"| {one} | {what} | {told} |\n")
    lines.append("\n## Attacks\n\n| id | what | tests |\n|---|---|---|\n")
    for one, what in ATTACKS.items():
        count = len(found.get(one, set()))
        told = f"{count}" if count else f"*{AWAITING.get(one, 'none')}*"
        lines.append(f"| {one} | {what} | {told} |\n")
    return "".join(lines)


def main() -> int:
    """Print, write, judge."""
    found = proofs_by_id()
    for group in (*REQUIREMENTS.values(), ATTACKS):
        for one in group:
            print(f"{one:8} {_told(found.get(one, set())) or '-'}")
    DOCUMENT.write_text(document(found), encoding="utf-8")
    for one in missing(found):
        print(f"{one} must have a test", file=sys.stderr)
    for one in unknown(found):
        print(f"{one} is in no table", file=sys.stderr)
    return 1 if missing(found) or unknown(found) else 0


if __name__ == "__main__":
    sys.exit(main())
