"""Requests for approval: made, found, and the approvals that come in for them.

Not for verifying what is carried out: the key provider does, with approvers of its own. What is
refused here is only what it would refuse anyway, so that people hear of it early.

Source: docs/erasure.md, "Approvals".
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from gateway.approvals.approvers import ApproverSet, read_approvers
from gateway.approvals.request import NONCE_BYTES, Act, Request, name_check
from gateway.approvals.warrant import Approval, WarrantRefused, read_warrant, verify_approval
from gateway.data.envelope import WarrantKeeper
from gateway.meta import approval_rows
from gateway.meta.administrator_rows import scan_administrators
from gateway.meta.approval_rows import Pending, StoredPending
from gateway.meta.kv import Check
from gateway.model.administrators import is_same_person
from gateway.objects.context import Services
from gateway.objects.tenancy import Step, change
from storaged.base.errors import Kind, StorageError

PENDING_MAX = 10_000
LIFETIME_MS = 30 * 86_400_000


class NoSuchRequest(StorageError):
    """There is no request for approval of this id."""

    kind = Kind.NOT_FOUND
    hint = "`hexagone approvals list` shows them"


class ApprovalNeeded(StorageError):
    """This has to be approved first."""

    kind = Kind.DENIED
    hint = (
        "`hexagone approvals show REQUEST --out FILE` writes what approvers sign; each of them: "
        "`approvals sign FILE --key KEY --out APPROVAL`; then `approvals submit APPROVAL …`, and "
        "the same command again"
    )


class ApproversUnknown(StorageError):
    """The key provider of this cluster keeps no approvers."""

    kind = Kind.INVALID


def keeper_of(services: Services) -> WarrantKeeper:
    """The key provider as who knows approvers. Raises: ApproversUnknown."""
    provider = services.bucket_keys.provider
    if not isinstance(provider, WarrantKeeper):
        raise ApproversUnknown(provider=type(provider).__name__)
    return provider


def approvers_of(services: Services) -> ApproverSet | None:
    """Who approves in this cluster; None where nobody was registered."""
    provider = services.bucket_keys.provider
    document = provider.approvers() if isinstance(provider, WarrantKeeper) else b""
    return read_approvers(document) if document else None


def warnings(services: Services) -> list[str]:
    """What an operator should know of who approves; nothing while the key service cannot say."""
    try:
        held = approvers_of(services)
    except StorageError as error:
        if not error.retryable:
            raise
        return []
    if held is not None:
        return []
    return ["no approvers are registered: destruction of keys needs one person only"]


def spend(services: Services, item: str, warrant: bytes, holder: str) -> None:
    """Use approvals for an act that the provider does not carry out itself. Raises:
    WarrantRefused.
    """
    provider = services.bucket_keys.provider
    if isinstance(provider, WarrantKeeper):
        provider.spend_warrant(item, warrant, holder)


def use_up(services: Services, warrant: bytes, holder: str) -> None:
    """See that approvals of what was taken back are good for nothing else: they name keys that live
    on. Raises: RequestInvalid.
    """
    for item in read_warrant(warrant)[0].permits:
        with suppress(WarrantRefused):  # they have expired, or this was used already
            spend(services, item, warrant, f"cancelled/{holder}")


async def ask(
    services: Services,
    act: Act,
    *,
    about: str,
    name: str,
    permits: Sequence[str],
    objects: int,
    size_bytes: int,
    requester: str,
    not_before_ms: int = 0,
) -> Pending:
    """Make a request for approval. Raises: RequestInvalid, as the log."""
    now_ms = services.env.now_ms()
    begins_ms = max(now_ms, not_before_ms)
    nonce = services.env.random_bytes(NONCE_BYTES).hex()
    request = Request(
        act=act,
        cluster=services.cluster_id.hex(),
        about=about,
        name_check=name_check(nonce, name),
        objects=objects,
        size_bytes=size_bytes,
        requester=requester,
        created_ms=now_ms,
        not_before_ms=begins_ms,
        expires_ms=begins_ms + LIFETIME_MS,
        nonce=nonce,
        permits=tuple(permits),
    )
    pending = Pending(request=request, name=name)

    def decide() -> tuple[Step, Pending]:
        expired = [
            approval_rows.drop_pending(held.pending.request.request_id)
            for held in _scan(services)
            if held.pending.request.expires_ms < now_ms
        ]
        write = approval_rows.set_pending(services.records, services.nonces, pending)
        return Step((), (write, *expired)), pending

    return await change(services, decide)


def requests(services: Services) -> list[Pending]:
    """All requests, the latest first. Raises: RowCorrupt."""
    held = [stored.pending for stored in _scan(services)]
    return sorted(held, key=lambda one: one.request.created_ms, reverse=True)


def find(services: Services, request_id: str) -> Pending:
    """A request. Raises: NoSuchRequest, RowCorrupt."""
    stored = None
    if len(request_id) == 32 and request_id.isalnum() and request_id.isascii():
        stored = approval_rows.read_pending(services.log, services.records, request_id)
    if stored is None:
        raise NoSuchRequest(request=request_id[:64])
    return stored.pending


def find_open(services: Services, request_id: str) -> Pending:
    """A request that can still be approved. Raises: WarrantRefused, RowCorrupt."""
    try:
        pending = find(services, request_id)
    except NoSuchRequest as error:
        raise WarrantRefused(reason="the request has expired") from error
    if services.env.now_ms() >= pending.request.expires_ms:
        raise WarrantRefused(reason="the request has expired")
    return pending


def missing(services: Services, pending: Pending) -> int:
    """How many approvals are still needed; 0 where nobody has to approve."""
    approvers = approvers_of(services)
    if approvers is None:
        return 0
    good = sum(_is_good(services, pending, one, approvers) for one in pending.approvals)
    return max(0, approvers.threshold - good)


def warrant_of(services: Services, pending: Pending) -> bytes:
    """The warrant of a request; approvals of who is no approver any longer are left out."""
    approvers = approvers_of(services)
    if approvers is None:
        return b""
    good = [one for one in pending.approvals if _is_good(services, pending, one, approvers)]
    return replace(pending, approvals=tuple(good)).warrant


def _is_good(
    services: Services, pending: Pending, approval: Approval, approvers: ApproverSet
) -> bool:
    try:
        _verify(services, pending.request, approval, approvers)
    except WarrantRefused:
        return False
    return True


def _verify(
    services: Services, request: Request, approval: Approval, approvers: ApproverSet
) -> None:
    """As the provider does; and nobody approves what he has asked for by another account of his,
    which the provider cannot know. Raises: WarrantRefused.
    """
    verify_approval(request, approval, approvers)
    people = {
        held.name: held.person for held in scan_administrators(services.log, services.records)
    }
    asks, approves = people.get(request.requester), people.get(approval.name)
    if asks is not None and approves is not None and is_same_person(asks, approves):
        raise WarrantRefused(by=approval.name, reason="who asks cannot approve")


async def submit(services: Services, request_id: str, approval: Approval) -> Pending:
    """Add an approval to a request; one by the same approver takes the place of his former.

    Raises: NoSuchRequest, WarrantRefused, OperationAborted, as the log.
    """

    def decide() -> tuple[Step, Pending]:
        pending = find(services, request_id)
        stored = approval_rows.read_pending(services.log, services.records, request_id)
        approvers = approvers_of(services)
        if stored is None:
            raise NoSuchRequest(request=request_id[:64])
        if approvers is None:
            raise WarrantRefused(reason="no approvers are registered")
        if services.env.now_ms() >= pending.request.expires_ms:
            raise WarrantRefused(reason="the request has expired")
        _verify(services, pending.request, approval, approvers)
        others = [one for one in stored.pending.approvals if one.name != approval.name]
        changed = replace(stored.pending, approvals=(*others, approval))
        check = Check(approval_rows.approval_row(request_id), stored.revision)
        write = approval_rows.set_pending(services.records, services.nonces, changed)
        return Step((check,), (write,)), changed

    return await change(services, decide)


async def warrant_for(
    services: Services,
    act: Act,
    item: str,
    *,
    about: str,
    name: str,
    objects: int,
    size_bytes: int,
    requester: str,
) -> bytes:
    """The warrant for one act; where it has not been approved yet, a request is made.

    Raises: ApprovalNeeded: what its request is.
    """
    if approvers_of(services) is None:
        return b""
    now_ms = services.env.now_ms()
    for pending in requests(services):
        request = pending.request
        if request.act is act and request.permits == (item,) and now_ms < request.expires_ms:
            break
    else:
        pending = await ask(
            services,
            act,
            about=about,
            name=name,
            permits=(item,),
            objects=objects,
            size_bytes=size_bytes,
            requester=requester,
        )
    lacking = missing(services, pending)
    if lacking:
        raise ApprovalNeeded(request=pending.request.request_id, lacking=lacking)
    return warrant_of(services, pending)


async def drop(services: Services, request_id: str) -> None:
    """Forget a request: what it asked for was done, or is not wanted any longer."""

    def decide() -> tuple[Step, None]:
        return Step((), (approval_rows.drop_pending(request_id),)), None

    await change(services, decide)


def _scan(services: Services) -> list[StoredPending]:
    return approval_rows.scan_pending(services.log, services.records, limit=PENDING_MAX)
