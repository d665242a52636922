"""Which tests name which attacks: by their names (`test_sig_05_…`) or by their docstrings (SIG-05).

Not for comments, nor for docstrings of modules: only a test can fail.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).resolve().parents[1]
_KINDS = "SIG|AUT|HTTP|XML|RES|WEB"
_IN_DOCSTRING = re.compile(rf"\b({_KINDS})-([0-9]{{2}})\b")
_IN_NAME = re.compile(rf"(?<=_)({_KINDS.lower()})_([0-9]{{2}})(?=_)")


class Test(NamedTuple):
    """A test function; `file` is relative to `tests/`."""

    file: str
    name: str


def functions() -> Iterator[tuple[Test, ast.FunctionDef]]:
    """Every test function, by file and place."""
    for path in sorted(TESTS.rglob("test_*.py")):
        file = path.relative_to(TESTS).as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), file)):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                yield Test(file, node.name), node


def named_by(node: ast.FunctionDef) -> set[str]:
    """Ids that a test names."""
    told = _IN_DOCSTRING.findall(ast.get_docstring(node) or "")
    told += [(kind.upper(), number) for kind, number in _IN_NAME.findall(node.name)]
    return {f"{kind}-{number}" for kind, number in told}


def by_attack() -> dict[str, list[Test]]:
    """Tests by the ids that they name."""
    found: dict[str, list[Test]] = {}
    for test, node in functions():
        for attack in named_by(node):
            found.setdefault(attack, []).append(test)
    return found
