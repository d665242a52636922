"""A warrant: a request with the approvals of as many people as have to approve it.

Not for keeping one. Whoever carries out what cannot be taken back verifies the warrant himself,
against the approvers he knows, and takes nobody's word for it. An approval that is not good makes
the whole warrant none: a request that somebody has tampered with deserves no second look. Pure.

Source: docs/erasure.md, "Approvals".
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gateway.approvals.approvers import APPROVERS_MAX, NAME, ApproverSet
from gateway.approvals.request import TEXT_BYTES_MAX, Request, read_request
from gateway.model.encoding import enc
from storaged.base.errors import Kind, StorageError

WARRANT_BYTES_MAX = 2 * TEXT_BYTES_MAX
SIGNATURE_BYTES = 64


class WarrantRefused(StorageError):
    """This was not approved by as many as have to."""

    kind = Kind.DENIED
    hint = "`hexagone approvals list` shows what waits, `hexagone approvals show ID` who has signed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """Somebody's signature under a request."""

    name: str
    signature: bytes


def signed_message(text: str) -> bytes:
    """What an approver signs for the text of a request."""
    return enc("approval", text)


def approve(text: str, name: str, key: Ed25519PrivateKey) -> Approval:
    """Sign a request. Raises: RequestInvalid."""
    read_request(text)
    return Approval(name=name, signature=key.sign(signed_message(text)))


def encode_approval(approval: Approval) -> dict[str, str]:
    """An approval as JSON."""
    signature = base64.b64encode(approval.signature).decode()
    return {"by": approval.name, "signature": signature}


def read_approval(document: object) -> Approval:
    """An approval from JSON. Raises: WarrantRefused."""
    if not isinstance(document, dict) or set(document) != {"by", "signature"}:
        raise WarrantRefused(reason="an approval has another form")
    name, signature = document["by"], document["signature"]
    if not isinstance(name, str) or not isinstance(signature, str) or not NAME.fullmatch(name):
        raise WarrantRefused(reason="an approval has another form")
    try:
        found = base64.b64decode(signature, validate=True)
    except (ValueError, binascii.Error) as error:
        raise WarrantRefused(reason="a signature is no base64") from error
    if len(found) != SIGNATURE_BYTES:
        raise WarrantRefused(reason="a signature has another length")
    return Approval(name=name, signature=found)


def encode_warrant(text: str, approvals: Sequence[Approval]) -> bytes:
    """A request with its approvals, as bytes."""
    document = {"request": text, "approvals": [encode_approval(one) for one in approvals]}
    return json.dumps(document, separators=(",", ":")).encode("ascii")


def read_warrant(warrant: bytes) -> tuple[Request, list[Approval]]:
    """Request and approvals; nothing is verified. Raises: WarrantRefused, RequestInvalid."""
    if not warrant:
        raise WarrantRefused(reason="approvals are needed")
    if len(warrant) > WARRANT_BYTES_MAX:
        raise WarrantRefused(warrant_bytes=len(warrant), most=WARRANT_BYTES_MAX)
    try:
        document = json.loads(warrant)
    except (ValueError, RecursionError) as error:
        raise WarrantRefused(reason="no warrant") from error
    if not isinstance(document, dict) or set(document) != {"request", "approvals"}:
        raise WarrantRefused(reason="no warrant")
    text, approvals = document["request"], document["approvals"]
    if not isinstance(text, str) or not isinstance(approvals, list):
        raise WarrantRefused(reason="no warrant")
    if len(approvals) > APPROVERS_MAX:
        raise WarrantRefused(approvals=len(approvals), most=APPROVERS_MAX)
    return read_request(text), [read_approval(one) for one in approvals]


def verify_approval(request: Request, approval: Approval, approvers: ApproverSet) -> None:
    """Whether an approval is one of an approver. Raises: WarrantRefused."""
    approver = approvers.find(approval.name)
    if approver is None:
        raise WarrantRefused(by=approval.name, reason="is no approver")
    if approval.name == request.requester:
        raise WarrantRefused(by=approval.name, reason="who asks cannot approve")
    key = Ed25519PublicKey.from_public_bytes(approver.public)
    try:
        key.verify(approval.signature, signed_message(request.text))
    except InvalidSignature as error:
        raise WarrantRefused(by=approval.name, reason="the signature is of other text") from error


def verify_warrant(
    warrant: bytes, item: str, approvers: ApproverSet, cluster: str, now_ms: int
) -> Request:
    """The request, if it permits `item` and as many have approved it as have to.

    Args:
        cluster: hex id of the cluster that asks. now_ms: the clock of who carries it out.

    Raises: WarrantRefused, RequestInvalid.
    """
    request, approvals = read_warrant(warrant)
    if request.cluster != cluster:
        raise WarrantRefused(reason="it was approved for another cluster")
    if item not in request.permits:
        raise WarrantRefused(item=item, reason="something else was approved")
    if now_ms < request.not_before_ms:
        raise WarrantRefused(not_before_ms=request.not_before_ms, reason="it is too early")
    if now_ms >= request.expires_ms:
        raise WarrantRefused(expired_ms=request.expires_ms, reason="the approvals have expired")
    names = {approval.name for approval in approvals}
    if len(names) != len(approvals):
        raise WarrantRefused(reason="somebody has approved twice")
    for approval in approvals:
        verify_approval(request, approval, approvers)
    if len(names) < approvers.threshold:
        raise WarrantRefused(approvals=len(names), needed=approvers.threshold)
    return request
