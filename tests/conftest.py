"""What every test run shares: tests marked `root` are skipped, with the reason, for other users."""

from __future__ import annotations

import os

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() == 0:
        return
    needs_root = pytest.mark.skip(reason="needs root: loop mounts or network namespaces")
    for item in items:
        if "root" in item.keywords:
            item.add_marker(needs_root)
