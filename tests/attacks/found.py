"""Which tests name which ids: by `@pytest.mark.proves("K-10", "C6")`, which may stand at a test, at
its class or, as `pytestmark`, at its module; attacks also by the test's name (`test_sig_05_…`) or
docstring (SIG-05).

Not for comments, nor for docstrings of modules: only a test can fail.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).resolve().parents[1]
_KINDS = "SIG|AUT|HTTP|XML|RES|WEB|CRY|NOD|LCK|JRN|MET|ADM|LDB"
_ATTACK = re.compile(rf"(?:{_KINDS})-[0-9]{{2}}")
_IN_DOCSTRING = re.compile(rf"\b({_KINDS})-([0-9]{{2}})\b")
_IN_NAME = re.compile(rf"(?<=_)({_KINDS.lower()})_([0-9]{{2}})(?=_)")


class Test(NamedTuple):
    """A test function; `file` is relative to `tests/`."""

    file: str
    name: str


class Marked(NamedTuple):
    """A test function and the ids that its marks name; `by_module`: those at its whole module."""

    test: Test
    node: ast.FunctionDef
    ids: frozenset[str]
    by_module: frozenset[str]


def marked() -> Iterator[Marked]:
    """Every test function, those of suites too, by file and place."""
    paths = {*TESTS.rglob("test_*.py"), *TESTS.rglob("*_suite.py")}
    for path in sorted(paths):
        file = path.relative_to(TESTS).as_posix()
        module = ast.parse(path.read_text(encoding="utf-8"), file)
        whole = frozenset(
            one
            for node in module.body
            if isinstance(node, ast.Assign)
            and any(isinstance(name, ast.Name) and name.id == "pytestmark" for name in node.targets)
            for one in _proved_by(node.value)
        )
        yield from _in(module, file, whole, whole)


def _in(
    holder: ast.Module | ast.ClassDef, file: str, ids: frozenset[str], whole: frozenset[str]
) -> Iterator[Marked]:
    for node in holder.body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            continue
        named = ids.union(*map(_proved_by, node.decorator_list))
        if isinstance(node, ast.ClassDef):
            yield from _in(node, file, named, whole)
        elif node.name.startswith("test_"):
            yield Marked(Test(file, node.name), node, named, whole)


def _proved_by(expression: ast.expr) -> set[str]:
    """Ids in all calls of `….proves(…)` of an expression."""
    return {
        word.value
        for node in ast.walk(expression)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "proves"
        for word in node.args
        if isinstance(word, ast.Constant) and isinstance(word.value, str)
    }


def functions() -> Iterator[tuple[Test, ast.FunctionDef]]:
    """Every test function, by file and place."""
    return ((one.test, one.node) for one in marked())


def named_by(node: ast.FunctionDef) -> set[str]:
    """Attacks that a test names without a mark."""
    told = _IN_DOCSTRING.findall(ast.get_docstring(node) or "")
    told += [(kind.upper(), number) for kind, number in _IN_NAME.findall(node.name)]
    return {f"{kind}-{number}" for kind, number in told}


def by_attack() -> dict[str, list[Test]]:
    """Tests by the ids that they name."""
    found: dict[str, list[Test]] = {}
    for one in marked():
        by_mark = {named for named in one.ids if _ATTACK.fullmatch(named)}
        for attack in by_mark | named_by(one.node):
            found.setdefault(attack, []).append(one.test)
    return found
