"""The judge of the public S3 suite: which test counts where, and what may not be lost."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from gateway.s3.actions import Operation
from gateway.s3.operations.table import OPERATIONS
from tests.conformance.s3.judge import areas, report, run

FILE = "s3tests/functional/test_s3.py::"


@pytest.mark.parametrize(
    ("test", "markers", "found"),
    [
        ("test_bucket_list_empty", (), ("core", "listing v1")),
        ("test_bucket_listv2_maxkeys_one", (), ("core", "listing v2")),
        ("test_copy_enc[sse-c-unencrypted-STANDARD]", (), ("core", report.MATRIX)),
        ("test_object_lock_put_obj_lock", (), ("core", "object lock")),
        ("test_delete_object_if_match", (), ("excluded", "contradicts AWS: conditional delete")),
        ("test_lifecycle_transition", ("lifecycle_transition",), ("extended",)),
    ],
)
def test_each_test_has_a_tier_and_an_area(
    test: str, markers: tuple[str, ...], found: tuple[str, ...]
) -> None:
    assert areas.classify(FILE + test, markers)[: len(found)] == found


def _results(**outcomes: str) -> dict[str, dict[str, Any]]:
    return {
        f"{FILE}test_{name}": {"tier": "core", "area": "ACL", "outcome": outcome}
        for name, outcome in outcomes.items()
    }


def test_the_list_of_passing_tests_may_only_grow(tmp_path: Path) -> None:
    path = tmp_path / "passing.txt"
    assert run.against_list(_results(a="passed", b="failed"), path, grow=True)
    assert path.read_text() == f"{FILE}test_a\n"
    assert run.against_list(_results(b="passed"), path, grow=False), "a was not run: not lost"
    assert not run.against_list(_results(a="failed", b="passed"), path, grow=True)
    assert path.read_text() == f"{FILE}test_a\n{FILE}test_b\n", "nothing is ever taken off"
    assert not run.against_list(_results(a="skipped"), path, grow=False)


def test_a_section_of_the_document_is_replaced_and_nothing_else() -> None:
    before = "top\n<!-- results -->\nold\n<!-- end of results -->\nbottom\n"
    after = report.with_section(before, "results", ["new"])
    assert after == "top\n<!-- results -->\n\nnew\n\n<!-- end of results -->\nbottom\n"
    assert report.with_section(after, "results", ["new"]) == after


def test_results_count_what_failed_and_name_it() -> None:
    run_of_two = {
        "suite": "0123456789abcdef",
        "boto3": "1",
        "started": "2026-11-23T00:00:00",
        "tests": _results(a="passed", b="failed"),
    }
    lines = report.results_section(run_of_two)
    assert "**core 1 of 2**" in lines[0]
    assert "| core | ACL | 2 | 1 | 0 | 51 | 9 |" in lines
    assert lines[-1] == "* ACL: `test_b`"


def test_the_document_tells_what_each_operation_answers() -> None:
    """To put it right: `python -m tests.conformance.s3.judge.report`."""
    told = dict(re.findall(r"^\| (\w+) \| (yes|501) \|", report.DOCUMENT.read_text(), re.M))
    answered = {str(one): "yes" if one in OPERATIONS else "501" for one in Operation}
    assert told == answered
