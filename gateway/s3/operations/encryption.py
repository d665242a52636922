"""PutBucketEncryption, GetBucketEncryption, DeleteBucketEncryption, UpdateObjectEncryption.

Source: Amazon S3 API Reference, these operations.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from gateway.model.action import Action
from gateway.model.attributes import AES256, CUSTOMER
from gateway.objects import encryption, encryption_update
from gateway.objects.bucket_config import Document, put_document, read_document
from gateway.s3 import xml
from gateway.s3.call import Call, OperationFunction
from gateway.s3.errors import S3Error
from gateway.s3.operations import fields
from gateway.s3.responses import Reply, xml_reply
from gateway.s3.xml_reader import Node, malformed, read
from gateway.s3.xml_reader import fields as leaves

BODY_MAX_BYTES = 16 * 1024
_KEY_ARN = re.compile(r"arn:[a-z][-a-z0-9]*:kms:[-a-z0-9]*:[0-9]{12}:key/.{1,255}")
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


async def update_object(call: Call) -> Reply:
    fields.check_supported(call)
    if not call.body.is_protected:
        raise S3Error("InvalidRequest", "Missing required header for this request: Content-MD5")
    root = read(await call.body.read_document(BODY_MAX_BYTES), "ObjectEncryption", BODY_MAX_BYTES)
    wanted = root.child("SSE-KMS")
    if wanted is None:
        raise S3Error(
            "InvalidRequest",
            "Requests that modify an object encryption configuration require a valid new "
            "encryption type. Valid values are SSEKMS. Modify the request to specify SSE-KMS for "
            "the updated encryption type, and then try again.",
        )
    found = leaves(wanted, frozenset({"KMSKeyArn", "BucketKeyEnabled"}))
    key_id, bucket_key = found.get("KMSKeyArn", ""), found.get("BucketKeyEnabled", "false")
    if _KEY_ARN.fullmatch(key_id) is None:
        raise S3Error(
            "InvalidRequest",
            "Requests that modify an object's encryption type to SSE-KMS require a valid Amazon "
            "Web Services KMS key Amazon Resource Name (ARN). Confirm that you have a correctly "
            "formatted KMS key ARN in your request, and then try again.",
        )
    if bucket_key not in ("true", "false"):
        raise S3Error(
            "InvalidRequest",
            "The BucketKeyEnabled value isn't valid. Valid values are true or false. Modify the "
            "request to specify a valid value, and then try again.",
        )
    version_id = await encryption_update.update_encryption(
        call.context,
        call.bucket,
        call.key,
        call.query.get("versionId"),
        key_id,
        bucket_key=bucket_key == "true",
    )
    return Reply(headers=[] if version_id is None else [("x-amz-version-id", version_id)])


OPERATIONS: Mapping[str, OperationFunction] = {
    "PutBucketEncryption": put_encryption,
    "GetBucketEncryption": get_encryption,
    "DeleteBucketEncryption": delete_encryption,
    "UpdateObjectEncryption": update_object,
}
