"""What every test run shares: no test fails by time; those marked `root` are skipped, with the
reason, for other users, and run one after the other for root.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# How long an example takes says how busy the machine is, never whether the code is right.
settings.register_profile("hexagone", deadline=None)
settings.load_profile("hexagone")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mark = pytest.mark.skip(reason="needs root: loop mounts or network namespaces")
    if os.geteuid() == 0:
        # A namespace holds every mount that was there when it was made: a file system that another
        # test has cut and unmounted would come back as it was cut.
        mark = pytest.mark.xdist_group("root")
    for item in items:
        if "root" in item.keywords:
            item.add_marker(mark)
