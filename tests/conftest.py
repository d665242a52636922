"""What every test run shares: no test fails by time, and those marked `root` are skipped, with the
reason, for other users.
"""

from __future__ import annotations

import os

import pytest
from hypothesis import settings

# How long an example takes says how busy the machine is, never whether the code is right.
settings.register_profile("hexagone", deadline=None)
settings.load_profile("hexagone")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() == 0:
        return
    needs_root = pytest.mark.skip(reason="needs root: loop mounts or network namespaces")
    for item in items:
        if "root" in item.keywords:
            item.add_marker(needs_root)
