"""Policy, policy status, public access block and ownership controls of a bucket.

Source: Amazon S3 API Reference, PutBucketPolicy, GetBucketPolicyStatus, PutPublicAccessBlock,
PutBucketOwnershipControls and their readers.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.model.acl import Ownership
from gateway.model.policy_document import POLICY_BYTES_MAX
from gateway.objects import policies
from gateway.objects.access_rules import SWITCHES
from gateway.s3 import xml
from gateway.s3.call import Call, OperationFunction
from gateway.s3.errors import S3Error
from gateway.s3.operations import fields
from gateway.s3.responses import Reply, xml_reply
from gateway.s3.xml_reader import fields as leaves
from gateway.s3.xml_reader import malformed, read

BODY_BYTES_MAX = 8192
_BOOLEANS = {"true": True, "false": False}


async def get_policy(call: Call) -> Reply:
    fields.check_supported(call)
    text = policies.get_policy(call.context, call.bucket)
    return Reply(headers=[("Content-Type", "application/json")], body=text.encode())


async def put_policy(call: Call) -> Reply:
    fields.check_supported(call)
    document = await call.body.read_document(2 * POLICY_BYTES_MAX)
    try:
        text = document.decode("utf-8")
    except UnicodeDecodeError:
        raise S3Error("MalformedPolicy") from None
    await policies.put_policy(call.context, call.bucket, text)
    return Reply(status=204)


async def delete_policy(call: Call) -> Reply:
    fields.check_supported(call)
    await policies.delete_policy(call.context, call.bucket)
    return Reply(status=204)


async def get_policy_status(call: Call) -> Reply:
    fields.check_supported(call)
    is_public = policies.is_public(call.context, call.bucket)
    return xml_reply(xml.document("PolicyStatus", xml.element("IsPublic", is_public)))


async def get_public_access_block(call: Call) -> Reply:
    fields.check_supported(call)
    switches = policies.get_public_access_block(call.context, call.bucket)
    rows = [xml.element(name, is_on) for name, is_on in switches.items()]
    return xml_reply(xml.document("PublicAccessBlockConfiguration", *rows))


async def put_public_access_block(call: Call) -> Reply:
    fields.check_supported(call)
    document = await call.body.read_document(BODY_BYTES_MAX)
    root = read(document, "PublicAccessBlockConfiguration", BODY_BYTES_MAX)
    switches = dict.fromkeys(SWITCHES, False)
    for name, text in leaves(root, frozenset(SWITCHES)).items():
        if text.strip().lower() not in _BOOLEANS:
            malformed()
        switches[name] = _BOOLEANS[text.strip().lower()]
    await policies.put_public_access_block(call.context, call.bucket, switches)
    return Reply()


async def delete_public_access_block(call: Call) -> Reply:
    fields.check_supported(call)
    await policies.put_public_access_block(call.context, call.bucket, None)
    return Reply(status=204)


async def get_ownership(call: Call) -> Reply:
    fields.check_supported(call)
    rule = policies.get_ownership(call.context, call.bucket)
    written = xml.group("Rule", xml.element("ObjectOwnership", rule.value))
    return xml_reply(xml.document("OwnershipControls", written))


async def put_ownership(call: Call) -> Reply:
    fields.check_supported(call)
    document = await call.body.read_document(BODY_BYTES_MAX)
    root = read(document, "OwnershipControls", BODY_BYTES_MAX)
    if len(root.children) != 1 or root.children[0].name != "Rule":
        malformed()
    rule = leaves(root.children[0], frozenset({"ObjectOwnership"})).get("ObjectOwnership", "")
    if rule.strip() not in set(Ownership):
        malformed()
    await policies.put_ownership(call.context, call.bucket, Ownership(rule.strip()))
    return Reply()


async def delete_ownership(call: Call) -> Reply:
    fields.check_supported(call)
    await policies.put_ownership(call.context, call.bucket, None)
    return Reply(status=204)


OPERATIONS: Mapping[str, OperationFunction] = {
    "GetBucketPolicy": get_policy,
    "PutBucketPolicy": put_policy,
    "DeleteBucketPolicy": delete_policy,
    "GetBucketPolicyStatus": get_policy_status,
    "GetPublicAccessBlock": get_public_access_block,
    "PutPublicAccessBlock": put_public_access_block,
    "DeletePublicAccessBlock": delete_public_access_block,
    "GetBucketOwnershipControls": get_ownership,
    "PutBucketOwnershipControls": put_ownership,
    "DeleteBucketOwnershipControls": delete_ownership,
}
