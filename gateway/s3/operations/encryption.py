"""PutBucketEncryption, GetBucketEncryption, DeleteBucketEncryption.

Source: Amazon S3 API Reference, these operations.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.model.action import Action
from gateway.model.attributes import AES256, CUSTOMER
from gateway.objects import encryption
from gateway.objects.bucket_config import Document, put_document, read_document
from gateway.s3 import xml
from gateway.s3.call import Call, OperationFunction
from gateway.s3.errors import S3Error
from gateway.s3.operations import fields
from gateway.s3.responses import Reply, xml_reply
from gateway.s3.xml_reader import Node, malformed, read
from gateway.s3.xml_reader import fields as leaves

BODY_MAX_BYTES = 16 * 1024
_ROOT = "ServerSideEncryptionConfiguration"
_BY_DEFAULT = "ApplyServerSideEncryptionByDefault"
_BLOCKED = "BlockedEncryptionTypes"


async def put_encryption(call: Call) -> Reply:
    fields.check_supported(call)
    root = read(await call.body.read_document(BODY_MAX_BYTES), _ROOT, BODY_MAX_BYTES)
    document = _document_of(root)
    await put_document(
        call.context,
        call.bucket,
        encryption.DOCUMENT,
        document,
        Action.PUT_ENCRYPTION_CONFIGURATION,
    )
    return Reply()


def _document_of(root: Node) -> Document:
    if len(root.children) != 1 or root.children[0].name != "Rule":
        malformed()
    rule = root.children[0]
    if {child.name for child in rule.children} - {_BY_DEFAULT, "BucketKeyEnabled", _BLOCKED}:
        malformed()
    document: Document = {"kind": AES256}
    by_default = rule.child(_BY_DEFAULT)
    if by_default is not None:
        document = _default_of(by_default)
    bucket_key = rule.child("BucketKeyEnabled")
    if bucket_key is not None:
        text = bucket_key.text.strip().lower()
        if text not in ("true", "false"):
            malformed()
        document["bucket_key"] = text == "true"
    blocked = rule.child(_BLOCKED)
    if blocked is not None:
        document["blocked"] = _blocked_of(blocked)
    return document


def _default_of(node: Node) -> Document:
    found = leaves(node, frozenset({"SSEAlgorithm", "KMSMasterKeyID"}))
    kind = found.get("SSEAlgorithm", "").strip()
    if kind != AES256 and kind not in encryption.NAMED_KINDS:
        malformed()
    document: Document = {"kind": kind}
    key_id = found.get("KMSMasterKeyID", "").strip()
    if key_id:
        if kind == AES256:
            raise S3Error(
                "InvalidArgument",
                "a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms "
                "or aws:kms:dsse",
                extra={"ArgumentName": "ApplyServerSideEncryptionByDefault"},
            )
        encryption.checked_key_name(key_id)
        document["key_id"] = key_id
    return document


def _blocked_of(node: Node) -> list[str]:
    kinds = [child.text.strip() for child in node.children]
    if any(child.name != "EncryptionType" for child in node.children):
        malformed()
    if kinds == [CUSTOMER]:
        return kinds
    if kinds == ["NONE"]:
        return []
    malformed()


async def get_encryption(call: Call) -> Reply:
    fields.check_supported(call)
    held = read_document(
        call.context, call.bucket, encryption.DOCUMENT, Action.GET_ENCRYPTION_CONFIGURATION
    )
    document = held or encryption.DEFAULT_DOCUMENT
    by_default = [xml.element("SSEAlgorithm", document["kind"])]
    if "key_id" in document:
        by_default.append(xml.element("KMSMasterKeyID", document["key_id"]))
    rule = [
        xml.group(_BY_DEFAULT, *by_default),
        xml.element("BucketKeyEnabled", bool(document.get("bucket_key"))),
    ]
    if "blocked" in document:
        kinds = document["blocked"] or ["NONE"]
        rule.append(xml.group(_BLOCKED, *(xml.element("EncryptionType", kind) for kind in kinds)))
    return xml_reply(xml.document(_ROOT, xml.group("Rule", *rule)))


async def delete_encryption(call: Call) -> Reply:
    fields.check_supported(call)
    await put_document(
        call.context,
        call.bucket,
        encryption.DOCUMENT,
        None,
        Action.PUT_ENCRYPTION_CONFIGURATION,
    )
    return Reply(status=204)


OPERATIONS: Mapping[str, OperationFunction] = {
    "PutBucketEncryption": put_encryption,
    "GetBucketEncryption": get_encryption,
    "DeleteBucketEncryption": delete_encryption,
}
