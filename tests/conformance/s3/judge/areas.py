"""Which feature area a test belongs to, and whether it counts.

Rules are tried in order and the first match wins.  A rule is
(tier, area, pattern, marker): the pattern is matched against
"<file stem>::<test name without parameters>", the marker (or None) must be
on the test.  Tiers:

  core      the S3 bucket and object APIs: the headline denominator
  extended  features beside them (IAM, STS, SNS, Select, SigV2, log delivery, tiering)
  excluded  a general S3 server cannot or should not pass it; the area says why
"""

from __future__ import annotations

import re
from collections.abc import Collection

S3, HEADERS, IAM, STS = (
    "test_s3::test_",
    "test_headers::test_",
    "test_iam::test_",
    "test_sts::test_",
)

RULES: list[tuple[str, str, str, str | None]] = [
    # ---- excluded
    (
        "excluded",
        "Ceph: usage and listing extensions",
        S3 + r"(account_usage|head_bucket_usage|bucket_head_extended|bucket_list(v2)?_unordered"
        r"|list_buckets_anonymous)$",
        None,
    ),
    ("excluded", "Ceph: cloud tier", S3, "cloud_transition"),
    ("excluded", "Ceph: cloud tier", S3, "cloud_restore"),
    (
        "excluded",
        "Ceph: tenant:bucket names",
        S3 + r"(bucket_policy_different_tenant|bucket_policy_tenanted_bucket"
        r"|put_bucket_logging_tenant_[sj])$",
        None,
    ),
    (
        "excluded",
        "contradicts AWS: conditional delete",
        S3 + r"delete_objects?_(current_|version_)?if_match",
        None,
    ),
    (
        "excluded",
        "contradicts AWS: part numbers",
        S3 + r"(non_)?multipart_(single_|sse_c_)?get_part$",
        None,
    ),
    (
        "excluded",
        "contradicts AWS: default encryption",
        S3 + r"(get|delete)_bucket_encryption_",
        None,
    ),
    (
        "excluded",
        "contradicts AWS: e-mail grants",
        r"test_(s3|iam)::test_.*(grant_email|account_email)",
        None,
    ),
    (
        "excluded",
        "contradicts AWS: other",
        S3 + r"(bucket_recreate_(overwrite|new)_acl|object_set_get_unicode_metadata"
        r"|put_bucket_logging_errors|bucket_logging_owner|delete_marker_(nonversioned|expiration))$",
        None,
    ),
    (
        "excluded",
        "cannot pass as written",
        S3 + r"(object_read_unreadable|bucket_policy_set_condition_operator_end_with_IfExists"
        r"|bucket_policy_put_obj_request_obj_tag)$",
        None,
    ),
    (
        "excluded",
        "cannot pass as written",
        HEADERS + r"(object|bucket)_create_bad_(contentlength_(empty|mismatch_below_aws2)"
        r"|authorization_\w+|date_none_aws2)$",
        None,
    ),
    (
        "excluded",
        "cannot pass as written",
        HEADERS + r"object_create_bad_contentlength_none$",
        None,
    ),
    ("excluded", "suite self-test", "test_utils::", None),
    # ---- extended
    ("extended", "SigV2", HEADERS, "auth_aws2"),
    ("extended", "SigV2", S3 + r"cors_presigned_.*_v2$", None),
    ("extended", "S3 Select", "test_s3select::", None),
    ("extended", "SNS topics", "test_sns::", None),
    ("extended", "STS web identity", STS, "webidentity_test"),
    ("extended", "STS assume role", STS, None),
    ("extended", "IAM user policies", IAM, "iam_tenant"),
    ("extended", "IAM cross-account", IAM, "iam_cross_account"),
    ("extended", "IAM accounts", IAM, None),
    ("extended", "IAM accounts", S3, "iam_account"),
    ("extended", "lifecycle transitions", S3, "lifecycle_transition"),
    ("extended", "access-log delivery", S3, "fails_without_logging_rollover"),
    ("excluded", "Ceph: logging extensions", S3 + r"(put_)?bucket_logging_", "fails_on_aws"),
    # ---- core
    ("core", "request headers", HEADERS, None),
    ("core", "access-log configuration", S3, "bucket_logging"),
    ("core", "POST object", S3 + r"post_object_(?!tags|upload_checksum)", None),
    ("core", "CORS", S3 + r"(set_cors|cors_)", None),
    ("core", "object lock", S3 + r"object_lock_", None),
    ("core", "copy between encryption modes", S3 + r"copy(_part)?_enc$", None),
    ("core", "SSE-S3", S3 + r".*(sse_s3|put_obj_s3|encryption_s3)", None),
    ("core", "SSE-KMS", S3 + r".*(sse_kms|put_obj_kms|encryption_kms)", None),
    ("core", "SSE-C", S3, "encryption"),
    ("core", "lifecycle execution", S3 + r"(?!.*(header|days0))", "lifecycle_expiration"),
    ("core", "lifecycle configuration", S3, "lifecycle"),
    (
        "core",
        "bucket policy",
        S3
        + r"(.*bucket(v2)?_policy|multipart_upload_on_a_bucket_with_policy|head_object_404_with)",
        None,
    ),
    (
        "core",
        "public access block",
        S3
        + r"(get_undefined_|put_|put_get_delete_|get_)?(block_public|public_block|ignore_public)",
        None,
    ),
    ("core", "object ownership", S3, "object_ownership"),
    ("core", "tagging", S3, "tagging"),
    ("core", "checksums", S3, "checksum"),
    ("core", "object attributes", S3 + r"get_(\w+_)?object_attributes$", None),
    ("core", "conditional writes", S3, "conditional_write"),
    ("core", "conditional writes", S3 + r"(put_object_if|atomic_(dual_)?conditional)", None),
    ("core", "versioning", S3 + r"(\w+_)?(versioning|versioned|delete_marker)", None),
    ("core", "multipart upload", S3 + r"(abort_|list_|non_)?(multipart|upload_part)", None),
    ("core", "copy object", S3, "copy"),
    ("core", "atomicity", S3 + r"atomic_", None),
    ("core", "ACL", S3 + r"(\w*_acls?(_|$)|access_bucket_|\w*anon_put)", None),
    (
        "core",
        "anonymous and presigned",
        S3 + r"(object_(raw|presigned|put_authenticated)|bucket_list(v2)?_objects_anonymous)",
        None,
    ),
    ("core", "listing v2", S3 + r"(bucket_listv2_|basic_key_count)", None),
    ("core", "listing v1", S3 + r"bucket_list_(?!long_name)", None),
    (
        "core",
        "bucket basics",
        S3 + r"(bucket|buckets|bucketv2|list_buckets|expected_bucket)_",
        None,
    ),
    ("core", "object basics", S3, None),
]
COMPILED = [(tier, area, re.compile(pattern), marker) for tier, area, pattern, marker in RULES]
TIERS = ("core", "extended", "excluded")

# Tests that read or clean up everything a user owns: never beside other tests.
SERIAL = re.compile(
    "(test_iam|test_sts|test_sns)::|" + S3 + r"(list_buckets_paginated|bucket_policy_deny_self)"
)


def short_name(nodeid: str) -> str:
    """ "a/b/test_s3.py::test_x[p]" -> "test_s3::test_x"."""
    path, _, name = nodeid.partition("::")
    return path.rsplit("/", 1)[-1].removesuffix(".py") + "::" + name.partition("[")[0]


def classify(nodeid: str, markers: Collection[str]) -> tuple[str, str]:
    """The (tier, area) of a test, given the names of its pytest markers."""
    name = short_name(nodeid)
    for tier, area, pattern, marker in COMPILED:
        if pattern.match(name) and (marker is None or marker in markers):
            return tier, area
    return "extended", "unclassified"


def batch_of(nodeid: str, area: str) -> str:
    """The batch that runs it: with more storage classes configured, alone, or in parallel."""
    if area == "lifecycle transitions":
        return "classes"
    return "serial" if SERIAL.match(short_name(nodeid)) else "parallel"
