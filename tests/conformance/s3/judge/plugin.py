"""pytest plugin loaded by run.py: picks the tests of one batch and records each outcome."""

from __future__ import annotations

import importlib
import json
import os
from typing import Any

import pytest

from tests.conformance.s3.judge import areas

SELECT = json.loads(os.environ["CONFORMANCE_SELECT"])
RESULTS: dict[str, dict[str, Any]] = {}


@pytest.hookimpl(trylast=True)  # after -k
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    keep, drop = [], []
    for item in items:
        tier, area = areas.classify(item.nodeid, {mark.name for mark in item.iter_markers()})
        item.user_properties.append(("conformance", (tier, area)))
        wanted = (
            tier in SELECT["tiers"]
            and area in (SELECT["areas"] or [area])
            and area not in SELECT["without"]
            and areas.batch_of(item.nodeid, area) in SELECT["batches"]
        )
        (keep if wanted else drop).append(item)
    items[:] = keep
    if drop:
        config.hook.pytest_deselected(items=drop)
    if config.option.collectonly and not hasattr(config, "workerinput"):
        for item in keep:
            tier, area = dict(item.user_properties)["conformance"]
            RESULTS[item.nodeid] = {"tier": tier, "area": area, "outcome": "not run"}


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: Any) -> Any:
    report = (yield).get_result()
    if report.failed and report.when != "call":
        # A bucket that cannot be emptied would fail the setup of every later
        # test, since the suite's fixture cleans up by name prefix: change it.
        suite = importlib.import_module("s3tests.functional")
        suite.prefix = suite.choose_bucket_prefix(SELECT["prefix"])


def pytest_runtest_logreport(report: Any) -> None:
    # A test whose worker died is reported without properties.
    tier, area = dict(report.user_properties).get("conformance") or areas.classify(
        report.nodeid, ()
    )
    result = RESULTS.setdefault(
        report.nodeid, {"tier": tier, "area": area, "outcome": "not run", "seconds": 0.0}
    )
    result["seconds"] = round(result["seconds"] + report.duration, 3)
    if report.when == "call" or (report.when == "setup" and not report.passed):
        result["outcome"] = "error" if report.failed and report.when == "setup" else report.outcome
        if not report.passed:
            crash = getattr(report.longrepr, "reprcrash", None)
            result["message"] = (crash.message if crash else str(report.longrepr))[:500]
    elif report.when == "teardown" and report.failed:
        result["cleanup"] = "failed"


def pytest_sessionfinish(session: pytest.Session) -> None:
    if not hasattr(session.config, "workerinput"):
        with open(os.environ["CONFORMANCE_OUT"], "w") as out:
            json.dump(RESULTS, out)
