"""GetBucketAcl, PutBucketAcl, GetObjectAcl, PutObjectAcl.

Source: Amazon S3 API Reference, these operations.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from gateway.model import acl
from gateway.model.acl_headers import AskedAcl, asked_acl
from gateway.model.attributes import Grant
from gateway.model.errors import InvalidArgument, MalformedACLError, MethodNotAllowed
from gateway.objects import acls
from gateway.objects.acls import HeldAcl, WantedAcl
from gateway.s3 import xml
from gateway.s3.call import Call, OperationFunction
from gateway.s3.errors import S3Error
from gateway.s3.operations import fields
from gateway.s3.responses import Header, Reply, xml_reply
from gateway.s3.xml_reader import Node, read

ACL_BODY_MAX_BYTES = 128 << 10
_SCHEMA = 'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"'


async def get_bucket_acl(call: Call) -> Reply:
    fields.check_supported(call)
    return _reply(call, acls.get_bucket_acl(call.context, call.bucket))


async def get_object_acl(call: Call) -> Reply:
    fields.check_supported(call)
    version_id = call.query.get("versionId")
    return _reply(call, acls.get_object_acl(call.context, call.bucket, call.key, version_id))


def _reply(call: Call, held: HeldAcl) -> Reply:
    rows = [_grant_row(call, grant) for grant in held.grants]
    document = xml.document(
        "AccessControlPolicy",
        fields.owner_of(call, "Owner", held.owner_id),
        xml.group("AccessControlList", *rows),
    )
    return xml_reply(document, headers=_version_headers(held.version_id))


def _version_headers(version_id: str | None) -> list[Header]:
    return [] if version_id is None else [("x-amz-version-id", version_id)]


def _grant_row(call: Call, grant: Grant) -> str:
    if grant.kind == acl.GROUP:
        inside = xml.element("URI", grant.grantee)
    else:
        name = call.context.services.identities.name_of(grant.grantee)
        inside = xml.element("ID", grant.grantee) + xml.element("DisplayName", name)
    grantee = f'<Grantee {_SCHEMA} xsi:type="{grant.kind}">{inside}</Grantee>'
    return xml.group("Grant", grantee, xml.element("Permission", grant.permission))


async def put_bucket_acl(call: Call) -> Reply:
    fields.check_supported(call)
    wanted = await _wanted(call, is_bucket=True)
    await acls.put_bucket_acl(call.context, call.bucket, wanted)
    return Reply()


async def put_object_acl(call: Call) -> Reply:
    fields.check_supported(call)
    wanted = await _wanted(call, is_bucket=False)
    version_id = call.query.get("versionId")
    shown = await acls.put_object_acl(call.context, call.bucket, call.key, version_id, wanted)
    return Reply(headers=_version_headers(shown))


async def _wanted(call: Call, *, is_bucket: bool) -> WantedAcl:
    """The ACL of headers or body, of which there must be one."""
    asked = asked_acl(call.headers, acl.BUCKET_CANNED if is_bucket else acl.OBJECT_CANNED)
    document = await call.body.read_document(ACL_BODY_MAX_BYTES)
    if asked is not None:
        if document:
            raise S3Error("UnexpectedContent")
        return WantedAcl(asked=asked)
    if not document:
        raise S3Error("MissingSecurityHeader", "Your request was missing a required header")
    return parse_acl(document)


def _refuse() -> NoReturn:
    raise MalformedACLError()


def parse_acl(document: bytes) -> WantedAcl:
    """An AccessControlPolicy.

    Raises:
        S3Error: MalformedXML, MaxMessageLengthExceeded.
        MalformedACLError, InvalidArgument, MethodNotAllowed (an e-mail address).
    """
    root = read(document, "AccessControlPolicy", ACL_BODY_MAX_BYTES)
    if any(child.name not in ("Owner", "AccessControlList") for child in root.children):
        _refuse()
    owner, listed = root.child("Owner"), root.child("AccessControlList")
    if owner is None or listed is None or len(listed.children) > acl.GRANTS_MAX:
        _refuse()
    owner_id = owner.child("ID")
    grants = acl.in_order([_grant_of(node) for node in listed.children])
    return WantedAcl(
        asked=AskedAcl(grants=grants),
        owner_id="" if owner_id is None else owner_id.text.strip(),
    )


def _grant_of(node: Node) -> Grant:
    grantee, permission = node.child("Grantee"), node.child("Permission")
    if node.name != "Grant" or grantee is None or permission is None or len(node.children) != 2:
        _refuse()
    named = permission.text.strip()
    if named not in acl.PERMISSIONS:
        _refuse()
    kind = grantee.attributes.get("type", "")
    found = {child.name: child.text.strip() for child in grantee.children}
    if kind == acl.USER and found.get("ID"):
        return Grant(kind=acl.USER, grantee=found["ID"], permission=named)
    if kind == acl.GROUP and found.get("URI"):
        if found["URI"] not in acl.GROUPS:
            raise InvalidArgument(
                message="Invalid group uri",
                argument_name="Group/URI",
                argument_value=found["URI"][:128],
            )
        return Grant(kind=acl.GROUP, grantee=found["URI"], permission=named)
    if kind == "AmazonCustomerByEmail":
        raise MethodNotAllowed(message="Grants to e-mail addresses are no longer supported.")
    _refuse()


OPERATIONS: Mapping[str, OperationFunction] = {
    "GetBucketAcl": get_bucket_acl,
    "PutBucketAcl": put_bucket_acl,
    "GetObjectAcl": get_object_acl,
    "PutObjectAcl": put_object_acl,
}
