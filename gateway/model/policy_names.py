"""Names that policies may use: actions, and condition keys.

Not for what an operation asks for (`gateway.model.action`): a policy may also name actions that no
operation here has.

Source: AWS Service Authorization Reference, "Actions, resources, and condition keys for Amazon S3",
2026.
"""

from __future__ import annotations

import re
from enum import StrEnum
from functools import lru_cache

from gateway.model.action import Action
from gateway.model.policy_patterns import Pattern

PREFIX = "s3:"
NAMES_CACHED_MAX = 1024

_OTHER_ACTIONS = """
    CreateBucketMetadataTableConfiguration CreateSession DeleteBucketMetadataTableConfiguration
    DeleteBucketOwnershipControls GetAccountPublicAccessBlock GetBucketAbac
    GetBucketMetadataTableConfiguration GetBucketVersioning GetObjectTorrent
    GetObjectVersionAnnotationForReplication GetObjectVersionForReplication GetObjectVersionTorrent
    InitiateReplication ListTagsForResource ObjectOwnerOverrideToBucketOwner PauseReplication
    PutAccountPublicAccessBlock PutBucketAbac ReplicateDelete ReplicateObject
    ReplicateObjectAnnotation ReplicateTags TagResource UntagResource
    UpdateBucketMetadataAnnotationTableConfiguration UpdateBucketMetadataInventoryTableConfiguration
    UpdateBucketMetadataJournalTableConfiguration
"""
KNOWN_ACTIONS = frozenset(
    [action.value.lower() for action in Action]
    + [f"{PREFIX}{name}".lower() for name in _OTHER_ACTIONS.split()]
)

_S3_KEYS = """
    accessgrantsinstancearn accesspointnetworkorigin accesspointtag authtype bucketobjecttag
    buckettag dataaccesspointaccount dataaccesspointarn delimiter destinationregion
    existingjoboperation existingjobpriority existingobjecttag if-match if-none-match
    inventoryaccessibleoptionalfields isreplicationpauserequest jobsuspendedcause
    locationconstraint max-keys object-lock-legal-hold object-lock-mode
    object-lock-remaining-retention-days object-lock-retain-until-date objectcreationoperation
    prefix requestjoboperation requestjobpriority requestobjecttag requestobjecttagkeys
    resourceaccount signatureage signatureversion tlsversion versionid x-amz-acl
    x-amz-content-sha256 x-amz-copy-source x-amz-grant-full-control x-amz-grant-read
    x-amz-grant-read-acp x-amz-grant-write x-amz-grant-write-acp x-amz-metadata-directive
    x-amz-object-ownership x-amz-server-side-encryption
    x-amz-server-side-encryption-aws-kms-key-id x-amz-server-side-encryption-customer-algorithm
    x-amz-storage-class x-amz-website-redirect-location
"""
_KEYS = frozenset(f"{PREFIX}{name}" for name in _S3_KEYS.split())


class TokenAction(StrEnum):
    """Actions of the token service, as policies of roles and users name them."""

    __hash__ = str.__hash__

    ASSUME_ROLE = "sts:AssumeRole"
    ASSUME_ROLE_WITH_WEB_IDENTITY = "sts:AssumeRoleWithWebIdentity"


_TOKEN_ACTIONS = frozenset(action.value.lower() for action in TokenAction)
_OF_SERVICE = re.compile(r"[A-Za-z0-9*?-]{1,64}:[A-Za-z0-9*?]{1,128}\Z")
_OF_TOKEN = re.compile(r"[A-Za-z0-9:/._-]{1,192}:[A-Za-z0-9/_-]{1,64}\Z")


@lru_cache(maxsize=NAMES_CACHED_MAX)
def actions_of_identity(pattern: str) -> frozenset[str] | None:
    """Actions (lower case) that a pattern in a policy of a user means; none for what other services
    do; None for what is no action.
    """
    if pattern != "*" and _OF_SERVICE.match(pattern) is None:
        return None
    matcher = Pattern(pattern.lower())
    found = frozenset(name for name in KNOWN_ACTIONS | _TOKEN_ACTIONS if matcher.matches(name))
    if not found and pattern.lower().startswith(PREFIX):
        return None
    return found


def is_token_key(name: str) -> bool:
    """Whether a policy of trust may ask for this key: sts:ExternalId, or <issuer>:sub."""
    return _OF_TOKEN.match(name) is not None


@lru_cache(maxsize=NAMES_CACHED_MAX)
def matched_actions(pattern: str) -> frozenset[str]:
    """Known actions (lower case) that a pattern of a policy means; none for a wrong name."""
    matcher = Pattern(pattern.lower())
    return frozenset(name for name in KNOWN_ACTIONS if matcher.matches(name))


def is_key(name: str) -> bool:
    """Whether a condition may ask for this key."""
    lowered = name.lower()
    if lowered.startswith("aws:"):
        return len(lowered) > len("aws:")
    return lowered.partition("/")[0] in _KEYS
