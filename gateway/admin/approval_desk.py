"""Approvers and requests for approval for the admin port.

Not for verifying anything that is carried out: the key provider does.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.admin.outlook import Document
from gateway.approvals.approvers import ApproverSet, read_approvers
from gateway.approvals.request import Act, approvers_item
from gateway.approvals.warrant import read_approval
from gateway.meta.approval_rows import Pending
from gateway.objects import approving
from gateway.objects.context import Services


class ApprovalDesk:
    """What the commands `hexagone approvals …` and `hexagone approver …` ask."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def listed(self) -> Document:
        """Who approves, and the requests there are."""
        found = approving.requests(self._services)
        return {**self.approvers(), "requests": [self._shown(one) for one in found]}

    def approvers(self) -> Document:
        """The registered set; threshold 0: nobody has to approve anything."""
        held = approving.approvers_of(self._services)
        return _set(held)

    def shown(self, fields: Mapping[str, str]) -> Document:
        """A request, with the text that is signed. Raises: NoSuchRequest."""
        return self._shown(approving.find(self._services, fields.get("id", "")))

    async def submit(self, fields: Mapping[str, str]) -> Document:
        """Add an approval. Raises: NoSuchRequest, WarrantRefused."""
        approval = read_approval({"by": fields.get("by"), "signature": fields.get("signature")})
        pending = await approving.submit(self._services, fields.get("id", ""), approval)
        return self._shown(pending)

    async def register(self, fields: Mapping[str, str], requester: str) -> Document:
        """Register approvers: the first set freely, another with the approvals of the present one.

        Raises: ApprovalNeeded, ApproversInvalid, ApproversUnknown, WarrantRefused.
        """
        services = self._services
        document = fields.get("document", "").encode("ascii", "replace")
        wanted, keeper = read_approvers(document), approving.keeper_of(services)
        warrant = await approving.warrant_for(
            services,
            Act.SET_APPROVERS,
            approvers_item(wanted.digest),
            about=f"approvers of version {wanted.version}: {wanted.threshold} of "
            + ", ".join(one.text for one in wanted.approvers),
            name=f"approvers/{wanted.version}",
            objects=0,
            size_bytes=0,
            requester=requester,
        )
        keeper.set_approvers(document, warrant)
        return self.approvers()

    def _shown(self, pending: Pending) -> Document:
        request = pending.request
        return {
            "id": request.request_id,
            "act": request.act.value,
            "name": pending.name,
            "text": request.text,
            "in_words": request.in_words(),
            "requester": request.requester,
            "created_ms": request.created_ms,
            "not_before_ms": request.not_before_ms,
            "expires_ms": request.expires_ms,
            "objects": request.objects,
            "size_bytes": request.size_bytes,
            "approved_by": [one.name for one in pending.approvals],
            "lacking": approving.missing(self._services, pending),
        }


def _set(held: ApproverSet | None) -> Document:
    return {
        "threshold": 0 if held is None else held.threshold,
        "version": 0 if held is None else held.version,
        "approvers": [] if held is None else [one.text for one in held.approvers],
    }
