"""The generated parts of docs/s3-compatibility.md: `python -m tests.conformance.s3.judge.report
RESULTS.json`.

Between `<!-- results -->` and `<!-- operations -->` and their ends: the table of areas of a run of
the judge, and every operation of S3 with what answers it and which of our tests ask for it.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from botocore import xform_name

from gateway.s3.actions import Operation
from gateway.s3.operations.table import OPERATIONS
from tests.conformance.s3.judge.areas import TIERS

ROOT = Path(__file__).resolve().parents[4]
DOCUMENT = ROOT / "docs" / "s3-compatibility.md"
TESTS = ROOT / "tests" / "conformance" / "s3"
TESTS_NAMED_MAX = 2
MATRIX = "copy between encryption modes"
# Of the same tests, as measured or published: Ceph RGW 16.2.15, and RustFS's own list of Aug 2026.
PEERS = {
    "bucket basics": (35, 35),
    "object basics": (32, 34),
    "listing v1": (39, 38),
    "listing v2": (38, 38),
    "copy object": (16, 16),
    "multipart upload": (19, 19),
    "versioning": (26, 24),
    "conditional writes": (9, 16),
    "atomicity": (11, 11),
    "checksums": (0, 3),
    "object attributes": (0, 6),
    "request headers": (18, None),
    "anonymous and presigned": (18, 10),
    "ACL": (51, 9),
    "object ownership": (0, 0),
    "bucket policy": (22, 15),
    "public access block": (4, 6),
    "CORS": (10, 8),
    "tagging": (15, 16),
    "POST object": (33, 23),
    "object lock": (35, 39),
    "lifecycle configuration": (20, 20),
    "lifecycle execution": (11, 8),
    "SSE-C": (18, 24),
    "SSE-S3": (1, 15),
    "SSE-KMS": (15, 20),
    MATRIX: (6, 80),
    "access-log configuration": (0, 1),
    "SigV2": (13, None),
    "lifecycle transitions": (28, None),
    "access-log delivery": (0, None),
}

# Operations that our tests ask for without naming them: their methods are put together, or the
# request is a browser's.
ASKED_OTHERWISE = {
    re.compile(r"PostObject"): "test_boto3_forms",
    re.compile(r"OptionsObject"): "test_boto3_cors",
    re.compile(r"\w+(Analytics|IntelligentTiering|Inventory|Metrics)Configurations?"): (
        "test_boto3_configs"
    ),
}


def results_section(run: dict[str, Any]) -> list[str]:
    """The table of areas, and each test that did not pass."""
    counts: dict[tuple[str, str], Counter[str]] = {}
    failures = []
    for test, result in run["tests"].items():
        key = (result["tier"], result["area"])
        counts.setdefault(key, Counter())[result["outcome"]] += 1
        if result["outcome"] in ("failed", "error"):
            failures.append((result["area"], test.partition("::")[2]))
    core = [counter for (tier, _), counter in counts.items() if tier == "core"]
    passed, total = sum(c["passed"] for c in core), sum(c.total() for c in core)
    matrix = counts.get(("core", MATRIX), Counter())
    lines = [
        f"Suite {run['suite'][:12]}, boto3 {run['boto3']}, {run['started'][:10]}, unpatched: "
        f"**core {passed} of {total}**; without the matrix of copies "
        f"{passed - matrix['passed']} of {total - matrix.total()}.",
        "",
        "| tier | area | tests | passed | skipped | RGW 16 | RustFS |",
        "|---|---|---|---|---|---|---|",
    ]
    for (tier, area), counter in sorted(counts.items(), key=lambda one: _place(*one[0])):
        peers = ["–" if figure is None else str(figure) for figure in PEERS.get(area, (None, None))]
        lines.append(
            f"| {tier} | {area} | {counter.total()} | {counter['passed']} | {counter['skipped']} "
            f"| {' | '.join(peers)} |"
        )
    lines += ["", "Not passed:" if failures else "Nothing failed.", ""]
    lines += [f"* {area}: `{name}`" for area, name in sorted(failures)]
    return lines


def _place(tier: str, area: str) -> tuple[int, int]:
    """Where an area stands in the table: with its tier, in the order of the peers' list."""
    known = list(PEERS)
    return TIERS.index(tier), known.index(area) if area in known else len(known)


def operations_section() -> list[str]:
    """Every operation of S3, in S3's own order of names."""
    texts = {path.name: path.read_text() for path in sorted(TESTS.glob("test_*.py"))}
    lines = ["| operation | status | tests |", "|---|---|---|"]
    for operation in sorted(Operation, key=str):
        method = xform_name(operation.value)
        asks = re.compile(rf"\.{method}\(|\"{method}\"|\"{operation.value}\"")
        named = [test for one, test in ASKED_OTHERWISE.items() if one.fullmatch(operation)]
        named += [name.removesuffix(".py") for name, text in texts.items() if asks.search(text)]
        status = "yes" if operation.value in OPERATIONS else "501"
        tests = ", ".join(f"`{name}`" for name in named[:TESTS_NAMED_MAX]) or "–"
        lines.append(f"| {operation.value} | {status} | {tests} |")
    return lines


def with_section(document: str, name: str, lines: list[str]) -> str:
    """The document with the part between the marks of a section replaced."""
    begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, _, rest = document.partition(begin)
    _, _, after = rest.partition(end)
    return "\n".join([before + begin, "", *lines, "", end + after])


def main() -> None:
    document = DOCUMENT.read_text()
    document = with_section(document, "operations", operations_section())
    if len(sys.argv) > 1:
        run = json.loads(Path(sys.argv[1]).read_text())
        document = with_section(document, "results", results_section(run))
    DOCUMENT.write_text(document)


if __name__ == "__main__":
    main()
