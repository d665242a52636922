"""Moments as people read them: UTC, to the second."""

from __future__ import annotations

from datetime import UTC, datetime


def moment(at_ms: int) -> str:
    """A moment, ms since the epoch, such as `2026-11-23 22:30:39Z`."""
    return f"{datetime.fromtimestamp(at_ms // 1000, UTC):%Y-%m-%d %H:%M:%S}Z"
