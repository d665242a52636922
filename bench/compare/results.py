"""Lines of `compare.json`: whose they are, what their cases are called, which figure counts. Pure.

A line is of one system in one case; those of the cases `machine`, `system`, `absent` and `fill-…`
say what a reader has to know of the run.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from bench.compare.plan import BUCKETS, LENGTHS, Trial, known_trials

Line = dict[str, Any]
OURS, MINIO = "hexagone", "minio"
OPERATIONS = {
    "put": "PUT",
    "get": "GET",
    "head": "HEAD",
    "delete": "DELETE",
    "list": "LIST 1,000 keys",
    "mixed": "mixed",
    "multipart": "multipart",
    "start": "start-up",
}
CODED, COPIED = re.compile(r"(\d+)\+(\d+)"), re.compile(r"(\d+) copies")


def title(trial: Trial) -> str:
    """Such as `PUT 4 KiB, 64 clients`."""
    words = OPERATIONS[trial.operation]
    if trial.operation not in ("list", "start"):
        kib = LENGTHS[trial.length] // 1024
        words += f" {kib // 1024} MiB" if kib >= 1024 else f" {kib} KiB"
    if trial.operation != "start":
        words += f", {trial.clients} client{'s' * (trial.clients > 1)}"
    words += f", bucket of {BUCKETS[trial.bucket]:,}" if trial.bucket else ""
    words += ", cold" * trial.is_cold + ", TLS" * trial.tls
    return words + ", one node frozen" * trial.is_frozen


def title_of(case: str) -> str:
    """The title of a case by its name; a name that the plan does not hold stays as it is."""
    trial = known_trials().get(case)
    return case if trial is None else title(trial)


def figure(case: str) -> str:
    """Which figure counts in a case: a rate, or of start-ups the seconds of one."""
    trial = known_trials().get(case)
    if trial is not None and trial.operation == "start":
        return "start_s"
    return "mib_per_s" if trial is not None and trial.is_long else "ops_per_s"


def is_grown(case: str) -> bool:
    """The number of objects in the bucket is part of the case."""
    trial = known_trials().get(case)
    return trial is not None and bool(trial.bucket)


def systems(lines: Iterable[Line]) -> list[Line]:
    """The line `system` of each system, in the order of the run, the first where there are more."""
    found: dict[str, Line] = {}
    for line in lines:
        if line["case"] == "system":
            found.setdefault(line["system"], line)
    return list(found.values())


def by_case(lines: Iterable[Line]) -> dict[str, dict[str, Line]]:
    """case → system → line, for the cases that have a rate, or would have one had they not failed.

    A system of which the run says nothing in a case is not in it.
    """
    found: dict[str, dict[str, Line]] = {}
    for line in lines:
        if line["case"] != "system" and "system" in line:
            found.setdefault(line["case"], {})[line["system"]] = line
    known = known_trials()
    return {
        case: of_case
        for case, of_case in found.items()
        if case in known or any("ops_per_s_range" in line for line in of_case.values())
    }


def stored_for_each(redundancy: str) -> float | None:
    """Bytes that a redundancy keeps for each byte: 1.5 of `4+2 …`, 3 of `3 copies …`, else None."""
    if coded := CODED.search(redundancy):
        data, parity = int(coded[1]), int(coded[2])
        return (data + parity) / data
    copied = COPIED.search(redundancy)
    return float(copied[1]) if copied else None
