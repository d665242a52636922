"""One version of a key, named or current: read it, or write its row anew with other attributes.

Not for bytes: they stay where they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from gateway.commit.change import Change
from gateway.meta.kv import Batch
from gateway.meta.records import StoredVersion
from gateway.model.action import Action
from gateway.model.errors import MethodNotAllowed, NoSuchKey, NoSuchVersion
from gateway.model.names import version_id as parse_version_id
from gateway.model.names import version_id_text
from gateway.model.version import Version
from gateway.objects import outbox
from gateway.objects.context import Context, Services
from gateway.objects.history import Found, find_version, is_versioned, rewritten
from gateway.objects.publish import checks_of, decide_and_commit
from gateway.objects.target import Target, open_target, reread_current


def named_version(
    ctx: Context, bucket: str, key: str, version_id: str | None, action: Action
) -> tuple[Version, str | None]:
    """A version and its id as clients are told it; `version_id` None: the current one.

    Raises: AccessDenied, NoSuchBucket, KeyTooLong, InvalidArgument, NoSuchKey, NoSuchVersion,
        MethodNotAllowed (a delete marker).
    """
    target, current = reread_current(ctx, open_target(ctx, bucket, key, action))
    found = found_version(ctx.services, target, current, version_id, "GET")
    return found.stored.version, shown_id(target, found.stored.version)


async def rewrite_version(
    ctx: Context,
    bucket: str,
    key: str,
    version_id: str | None,
    action: Action,
    change: Callable[[Version], Version],
) -> str | None:
    """Put what `change` makes of a version in its place; the version's id as clients are told it.

    Args:
        change: called once per try; it keeps ids, layout and seal. What it raises is raised.

    Raises: as named_version, and ConditionalRequestConflict.
    """
    shown: list[str | None] = []

    def decide(target: Target, current: StoredVersion | None) -> Change | None:
        services = ctx.services
        found = found_version(services, target, current, version_id, "PUT")
        shown[:] = [shown_id(target, found.stored.version)]
        changed = change(found.stored.version)
        if changed == found.stored.version:
            return None
        held = found.stored.version
        changed, left = outbox.rewritten(services, ctx, target, held, changed)
        parting = rewritten(services, found, changed)
        checks = checks_of(target, current)
        if found.row_key != target.row_key:
            checks += parting.checks
        batch = Batch(
            partition=target.bucket_id,
            request_id=services.env.random_bytes(16),
            checks=checks,
            writes=parting.writes + left,
        )
        return Change(batch=batch)

    await decide_and_commit(ctx, open_target(ctx, bucket, key, action), decide)
    return shown[0]


def found_version(
    services: Services,
    target: Target,
    current: StoredVersion | None,
    version_id: str | None,
    method: str,
) -> Found:
    """A version and its row; `version_id` None: the current one. Raises: as named_version."""
    key = target.key.decode()
    if version_id is None:
        target.admit(None if current is None else current.version)
        if current is None:
            raise NoSuchKey(key=key)
        if current.version.is_delete_marker:
            raise NoSuchKey(key=key, delete_marker=version_id_text(current.version.version_id))
        return Found(target.row_key, b"", current)
    found = find_version(services, target, current, parse_version_id(version_id))
    target.admit(None if found is None else found.stored.version)
    if found is None:
        raise NoSuchVersion(key=key, version_id=version_id)
    if found.stored.version.is_delete_marker:
        _refuse_marker(key, found.stored.version, method)
    return found


def _refuse_marker(key: str, version: Version, method: str) -> NoReturn:
    raise MethodNotAllowed(
        key=key,
        delete_marker=version_id_text(version.version_id),
        modified_at_ms=version.created_at_ms,
        method=method,
        resource_type="DeleteMarker",
    )


def shown_id(target: Target, version: Version) -> str | None:
    """The id of a version as clients are told it."""
    return version_id_text(version.version_id) if is_versioned(target) else None
