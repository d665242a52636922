"""ACLs as headers of a request ask for them: x-amz-acl, or x-amz-grant-… .

Not for what they mean (`gateway.model.acl`), nor for whether an account exists.

Source: Amazon S3 API Reference, "PutBucketAcl", "PutObject".
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from gateway.model import acl
from gateway.model.acl import Canned
from gateway.model.attributes import Grant
from gateway.model.errors import InvalidArgument, InvalidRequest, MethodNotAllowed

CANNED_HEADER = "x-amz-acl"
# In the order in which their grants are listed.
_PERMISSION_OF_HEADER = {
    "x-amz-grant-read": acl.READ,
    "x-amz-grant-write": acl.WRITE,
    "x-amz-grant-read-acp": acl.READ_ACP,
    "x-amz-grant-write-acp": acl.WRITE_ACP,
    "x-amz-grant-full-control": acl.FULL_CONTROL,
}
_HEADERS = frozenset({CANNED_HEADER, *_PERMISSION_OF_HEADER})
_GRANTEE = re.compile(r"\s*([A-Za-z]+)\s*=\s*(?:\"([^\"]*)\"|([^,\"\s]*))\s*\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedAcl:
    """What was asked for: a canned ACL, or grants."""

    canned: Canned | None = None
    grants: tuple[Grant, ...] = ()


def asked_acl(headers: Mapping[str, str], allowed: Collection[Canned]) -> AskedAcl | None:
    """The ACL that headers ask for; None when they ask for none.

    Raises: InvalidArgument, InvalidRequest, MethodNotAllowed (a grantee by e-mail address).
    """
    if _HEADERS.isdisjoint(headers):
        return None
    grants = tuple(
        grant
        for header, permission in _PERMISSION_OF_HEADER.items()
        if headers.get(header)
        for grant in _grants(headers[header], permission)
    )
    text = headers.get(CANNED_HEADER)
    if not text:
        return AskedAcl(grants=acl.in_order(grants)) if grants else None
    if grants:
        raise InvalidRequest(message="Specifying both Canned ACLs and Header Grants is not allowed")
    if text not in allowed:
        raise InvalidArgument(argument_name=CANNED_HEADER, argument_value=text[:64])
    return AskedAcl(canned=Canned(text))


def _grants(value: str, permission: str) -> list[Grant]:
    listed = value.split(",")
    if len(listed) > acl.GRANTS_MAX:
        raise InvalidRequest(message="The ACL has too many grants.")
    return [_grant(text, permission) for text in listed]


def _grant(text: str, permission: str) -> Grant:
    found = _GRANTEE.match(text)
    if found is None:
        raise InvalidArgument(message="Argument format not recognized", argument_value=text[:128])
    kind, grantee = found[1].lower(), found[2] if found[2] is not None else found[3]
    if kind == "emailaddress":
        raise MethodNotAllowed(message="Grants to e-mail addresses are no longer supported.")
    if kind == "id" and grantee:
        return Grant(kind=acl.USER, grantee=grantee, permission=permission)
    if kind == "uri" and grantee in acl.GROUPS:
        return Grant(kind=acl.GROUP, grantee=grantee, permission=permission)
    raise InvalidArgument(
        message="Invalid group uri" if kind == "uri" else "Invalid id",
        argument_name="CanonicalUser/ID" if kind == "id" else "Group/URI",
        argument_value=grantee[:128],
    )
