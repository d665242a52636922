"""What every test run shares: no test fails by time; those marked `root` are skipped, with the
reason, for other users, and run one after the other for root. With `--canaries` no test may tell
a key that is in use (`tests.support.canaries`).
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.support import canaries

# How long an example takes says how busy the machine is, never whether the code is right.
settings.register_profile("hexagone", deadline=None)
settings.load_profile("hexagone")

# Whoever runs the tests may speak another language; what they compare is English.
os.environ["LANGUAGE"] = "en"

ONE_AT_A_TIME = Path(tempfile.gettempdir(), "hexagone-root-tests.lock")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--canaries", action="store_true", help="fail tests that tell a key in use")


def pytest_configure(config: pytest.Config) -> None:
    """Before any module of the program is imported."""
    if config.getoption("canaries"):
        canaries.install()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() == 0:
        return
    needs_root = pytest.mark.skip(reason="needs root: loop mounts or network namespaces")
    for item in items:
        if "root" in item.keywords:
            item.add_marker(needs_root)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """A namespace holds every mount that was there when it was made: a file system that another
    test has cut and unmounted would come back as it was cut. The wait is not the test's time.
    """
    if "root" not in item.keywords or os.geteuid() != 0:
        return (yield)
    with ONE_AT_A_TIME.open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What was found in the run fails the test that is at it; what it has printed is looked at."""
    report = yield
    for name, text in report.sections:
        if report.when is not None and name.endswith(report.when):  # others were looked at before
            canaries.look(name, text)
    found = canaries.taken()
    if found and report.outcome != "failed":
        report.outcome = "failed"
        report.longrepr = f"a key in use is told by: {', '.join(sorted(set(found)))}"
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """At the end of a module, while what its tests have made is still there."""
    if item.config.getoption("canaries") and (nextitem is None or nextitem.path != item.path):
        canaries.end_module()
