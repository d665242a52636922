"""The section of `gateway.toml` about erasures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from gateway.model.erasure import DISABLED_HOURS_MIN, NOTICE_DAYS_MIN
from storaged.base.config import Bounds


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasureConfig:
    """How tenants and buckets are erased.

    Args:
        notice_days: between the request to erase a tenant and its execution; never below 21.
        disabled_hours: how long keys are disabled before they are destroyed.
        backup_retention_days: how long backups of nodes and keys folder are kept, at the most; what
            a certificate's date is computed from. None: nobody has said it.
    """

    notice_days: Annotated[int, Bounds(NOTICE_DAYS_MIN, 3650)] = NOTICE_DAYS_MIN
    disabled_hours: Annotated[int, Bounds(DISABLED_HOURS_MIN, 8760)] = DISABLED_HOURS_MIN
    backup_retention_days: Annotated[int, Bounds(0, 36_500)] | None = None
