"""What the documents of a bucket say about rights, made ready once per row of the bucket.

Not for deciding (`objects.access`). A bucket without any of these documents is as AWS makes new
ones: its owner owns everything in it, ACLs have no meaning, the public is kept out.

Documents: "policy" {"text"}; "acl" {"grants": [[kind, grantee, permission]]}, absent: the owner
alone; "ownership" {"rule"}, absent: BucketOwnerEnforced, "": taken away, as if ObjectWriter;
"public_access" {"BlockPublicAcls": bool, …}, absent: all four, {}: taken away, none.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gateway.meta.kv import RowCorrupt
from gateway.model import acl, policy_public
from gateway.model.acl import Ownership
from gateway.model.attributes import Grant
from gateway.model.errors import MalformedPolicy
from gateway.model.policy import Policy
from gateway.model.policy_document import parse_policy

if TYPE_CHECKING:
    from gateway.objects.target import OpenBucket

POLICY, ACL, OWNERSHIP, PUBLIC_ACCESS = "policy", "acl", "ownership", "public_access"
RULING = frozenset({POLICY, ACL, OWNERSHIP, PUBLIC_ACCESS})
SWITCHES = ("BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets")

_HELD = "access"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicAccess:
    """The four switches that keep the public out."""

    blocks_acls: bool
    ignores_acls: bool
    blocks_policy: bool
    restricts: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketRules:
    """Rights in a bucket, beside those of its owner.

    Args:
        grants: () = the owner alone.
    """

    ownership: Ownership
    grants: tuple[Grant, ...]
    public_access: PublicAccess
    policy: Policy | None
    policy_is_public: bool

    @property
    def has_acls(self) -> bool:
        """Whether ACLs have a meaning here."""
        return self.ownership is not Ownership.ENFORCED

    @property
    def only_owner_by_policy(self) -> bool:
        """Whether the policy lets in nobody of other accounts, whatever it says."""
        return self.policy_is_public and self.public_access.restricts

    @property
    def is_public(self) -> bool:
        """Whether everybody may do something, by policy or by ACL."""
        by_acl = (
            self.has_acls and not self.public_access.ignores_acls and acl.is_public(self.grants)
        )
        return by_acl or (self.policy_is_public and not self.public_access.restricts)


def rules_of(opened: OpenBucket) -> BucketRules:
    """The rules of an open bucket. Raises: RowCorrupt."""
    held: BucketRules | None = opened.parsed.get(_HELD)
    if held is None:
        held = opened.parsed[_HELD] = _made(opened)
    return held


def _made(opened: OpenBucket) -> BucketRules:
    documents = opened.bucket.documents
    policy: Policy | None = None
    try:
        if POLICY in documents:
            policy = parse_policy(documents[POLICY]["text"], opened.bucket.name)
        return BucketRules(
            ownership=ownership_of(documents.get(OWNERSHIP)),
            grants=bucket_grants(documents.get(ACL)),
            public_access=public_access_of(documents.get(PUBLIC_ACCESS)),
            policy=policy,
            policy_is_public=policy is not None and policy_public.is_public(policy),
        )
    except (MalformedPolicy, KeyError, ValueError, TypeError) as error:
        # Nobody is let in by rules that cannot be read.
        raise RowCorrupt(row_key=opened.row_key.hex(), part="rights") from error


def ownership_of(document: dict[str, Any] | None) -> Ownership:
    """Who owns what is written. Raises: KeyError, ValueError."""
    if document is None:
        return Ownership.ENFORCED
    return Ownership(document["rule"] or Ownership.WRITER)


def public_access_of(document: dict[str, Any] | None) -> PublicAccess:
    """The switches, as they are in force."""
    values = [document is None or bool(document.get(name, False)) for name in SWITCHES]
    return PublicAccess(
        blocks_acls=values[0], ignores_acls=values[1], blocks_policy=values[2], restricts=values[3]
    )


def acl_document(grants: tuple[Grant, ...]) -> dict[str, Any]:
    """Grants of a bucket as a document."""
    return {"grants": [[grant.kind, grant.grantee, grant.permission] for grant in grants]}


def bucket_grants(document: dict[str, Any] | None) -> tuple[Grant, ...]:
    """Grants of a bucket; () = the owner alone. Raises: KeyError, ValueError, TypeError."""
    if document is None:
        return ()
    return tuple(
        Grant(kind=kind, grantee=grantee, permission=permission)
        for kind, grantee, permission in document["grants"]
    )
