"""What every test run shares: no test fails by time; those marked `root` are skipped, with the
reason, for other users, and run one after the other for root.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes says how busy the machine is, never whether the code is right.
settings.register_profile("hexagone", deadline=None)
settings.load_profile("hexagone")

# Whoever runs the tests may speak another language; what they compare is English.
os.environ["LANGUAGE"] = "en"

ONE_AT_A_TIME = Path(tempfile.gettempdir(), "hexagone-root-tests.lock")


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
