"""May this caller do that here? The one place where rights are decided.

Not for who the caller is (`gateway.s3` proves that), nor for locks of objects. Every use case asks
before it looks at an object, so a caller without rights learns nothing about it.

In this access model a bucket's owner may do everything and nobody else anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.model.action import Action
from gateway.model.errors import AccessDenied
from gateway.model.names import ObjectKey
from gateway.objects.context import Context, Principal, Services

if TYPE_CHECKING:
    from gateway.objects.target import OpenBucket

_OPENING = frozenset({"acl", "policy"})  # documents without which nobody but the owner gets in


def authenticated(ctx: Context) -> Principal:
    """The caller. Raises AccessDenied for an anonymous one."""
    if ctx.principal is None:
        raise AccessDenied()
    return ctx.principal


def admits_anonymous(services: Services, bucket: str) -> bool:
    """Whether anything of a bucket may be open to anonymous callers.

    Asked before a byte of an anonymous body is read; `check` decides for the action itself.
    """
    opened = services.buckets.find(bucket)
    return opened is not None and not _OPENING.isdisjoint(opened.bucket.documents)


def check(ctx: Context, opened: OpenBucket, action: Action, key: ObjectKey | None) -> None:
    """Go on if the caller may. Raises AccessDenied."""
    if authenticated(ctx).tenant != opened.bucket.tenant:
        raise AccessDenied()
