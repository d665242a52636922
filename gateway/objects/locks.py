"""Object lock: which versions nobody may take away, and who may all the same.

`check_unlocked` is the one guard: every path that could delete a version asks it.

Source: Amazon S3 User Guide, "Locking objects with Object Lock".
"""

from __future__ import annotations

from gateway.model.action import Action
from gateway.model.attributes import COMPLIANCE
from gateway.model.errors import AccessDenied
from gateway.model.version import Version
from gateway.objects import access
from gateway.objects.context import Context
from gateway.objects.target import Target


def check_unlocked(version: Version, *, now_ms: int, bypass_governance: bool) -> None:
    """Go on if the version may be taken away now. Raises AccessDenied."""
    attributes = version.attributes
    if attributes.legal_hold:
        raise AccessDenied(message="Access Denied because object protected by object lock.")
    if attributes.retain_until_ms > now_ms and (
        attributes.retention_mode == COMPLIANCE or not bypass_governance
    ):
        raise AccessDenied(message="Access Denied because object protected by object lock.")


def may_bypass(ctx: Context, target: Target) -> bool:
    """Whether the caller may take away what governance protects."""
    try:
        access.check(ctx, target.opened, Action.BYPASS_GOVERNANCE_RETENTION, target.key)
    except AccessDenied:
        return False
    return True
