"""Import-linter's `forbidden` contract for a module map that is larger than the tree.

Not a place for rules: those are in `pyproject.toml`. Only modules named in `[tool.hexagone]
planned_modules` may be missing; a renamed or misspelt one is still an error, so a contract cannot
lose a module silently.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from grimp import ImportGraph
from importlinter.contracts.forbidden import ForbiddenContract
from importlinter.domain.contract import ContractCheck

PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"


def planned_modules() -> frozenset[str]:
    """Modules of the map that need no file yet."""
    settings = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))
    return frozenset(settings["tool"]["hexagone"]["planned_modules"])


class ForbiddenExistingContract(ForbiddenContract):
    """Forbidden imports, judged on those of the named modules that exist."""

    type_name = "forbidden_existing"

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:
        """Drop the planned modules that are not in the graph, then check as usual."""
        absent = planned_modules() - graph.modules
        self.source_modules = {m for m in self.source_modules if str(m) not in absent}
        self.forbidden_modules = {m for m in self.forbidden_modules if str(m) not in absent}
        return super().check(graph, verbose)
