"""What became of each client over each way, and the table made of it."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from tests.clients.catalog import TLS_PATH, WAYS, Client, Way


class Outcome(Enum):
    """Of one client over one way."""

    PASSED = "passed"
    FAILED = "FAILED"
    ABSENT = "absent"
    NOT_DONE = "–"


@dataclass
class Result:
    """An outcome, and what was done, or what went wrong."""

    outcome: Outcome
    text: str
    took_s: float = 0.0
    version: str = ""


@dataclass
class Row:
    """One client's results."""

    client: Client
    results: dict[Way, Result]

    def is_bad(self, *, is_strict: bool) -> bool:
        """Whether it fails the run; strict: what is absent does, unless it may be."""
        outcomes = {result.outcome for result in self.results.values()}
        absent = is_strict and not self.client.may_be_absent and Outcome.ABSENT in outcomes
        return Outcome.FAILED in outcomes or absent

    def version(self) -> str:
        return next((result.version for result in self.results.values() if result.version), "?")

    def done(self) -> str:
        """What was done on the way it did most, else what is wrong in one line."""
        passed = [r.text for r in self.results.values() if r.outcome is Outcome.PASSED]
        if passed:
            return max(passed, key=len)
        shown = self.results.get(TLS_PATH) or next(iter(self.results.values()))
        return shown.text.strip().splitlines()[-1] if shown.text.strip() else ""


HEAD = """# Clients

Written by `make clients`; last whole run on {system}, Python {python}.
Each client is installed from packages (the Python ones in an environment of their own, versions
pinned in `tests/clients/pins/`) and does the task named here against `hexagone up` processes on
loopback: plain HTTP and TLS, the bucket in the path and in the host name. Bytes, listings,
deletions and metadata are compared, not only exit codes; the whole task is the client's file in
`tests/clients/each/`. `–`: not done, reason below. `absent`: not on this machine.

| Client | Version | What was done | HTTP, path | HTTP, host | TLS, path | TLS, host |
|---|---|---|---|---|---|---|
"""


def write_report(path: Path, rows: list[Row], *, has_names: bool) -> None:
    """Write the table and, below it, every reason of what is not `passed`."""
    text = HEAD.format(
        system=f"{platform.system()} {platform.machine()}", python=platform.python_version()
    )
    notes: dict[str, None] = {}
    for row in rows:
        if row.client.note:
            notes[f"* {row.client.title}: {row.client.note}."] = None
        cells = []
        for way in WAYS:
            result = row.results.get(way)
            cells.append(result.outcome.value if result else Outcome.NOT_DONE.value)
            if result and result.outcome is not Outcome.PASSED:
                cause = result.text.strip().splitlines()[-1][:300] if result.text.strip() else "?"
                where = "/".join(way) if result.outcome is Outcome.FAILED else ""
                notes[f"* {row.client.title} {where}".rstrip() + f": {cause}"] = None
        done = row.done().replace("|", "\\|")
        text += f"| {row.client.title} | {row.version()} | {done} | {' | '.join(cells)} |\n"
    if not has_names:
        notes["* No mount namespace could be had, so no bucket was a host name in this run."] = None
    text += (
        "\n" + "\n".join(notes) + "\n" if notes else "\nNothing failed and nothing was absent.\n"
    )
    path.write_text(text)
