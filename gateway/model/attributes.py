"""What few versions have: an ACL, a lock, a choice of encryption, a place among null versions.

Not for what every version has (`gateway.model.version`). A version without any of it costs no byte
and no object: all share NO_ATTRIBUTES. The document form holds what differs from the defaults, so
a field added later is absent in older rows.

Source: Amazon S3 API Reference, "PutObject", "PutObjectAcl", "PutObjectRetention";
docs/data-layout.md, "Versions".
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from gateway.model.encoding import enc

AES256, KMS, KMS_DSSE, CUSTOMER = "AES256", "aws:kms", "aws:kms:dsse", "SSE-C"
GOVERNANCE, COMPLIANCE = "GOVERNANCE", "COMPLIANCE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """One grant of an ACL.

    Args:
        kind: CanonicalUser or Group.
        grantee: canonical id of a user, URI of a group.
        permission: FULL_CONTROL, WRITE, WRITE_ACP, READ or READ_ACP.
    """

    kind: str
    grantee: str
    permission: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Encryption:
    """The encryption a client has chosen beyond what every object gets.

    Args:
        kind: AES256, KMS, KMS_DSSE or CUSTOMER.
        key_id: the KMS key as the client is told; "" for the other kinds.
        bucket_key: S3's bucket key was asked for.
        context: base64 of the KMS encryption context; "" without one.
        key_check: CUSTOMER: tells the right key from a wrong one, hexadecimal; never the key.
        bound_epoch: CUSTOMER: epoch of the bucket key when the client's key wrapped the DEK, which
            binds what only the client can open; 0 = the epoch of the row.
    """

    kind: str
    key_id: str = ""
    bucket_key: bool = False
    context: str = ""
    key_check: str = ""
    bound_epoch: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """See the module docstring.

    Args:
        null_sequence: in the row of a current version: sequence of the noncurrent null version of
            the key, 0 when there is none.
        noncurrent_since_ms: when a newer version took its place; 0 while it is the current one.
        owner_id: canonical id of who owns the object; "" = the bucket's owner.
        acl: () = the owner alone.
        retention_mode: GOVERNANCE, COMPLIANCE or "".
        retain_until_ms: end of the retention; copied to the cluster's part of the row.
        replication: status of its replication; "" where no rule applies.
        replica: id that its replica has at the destination; "" = none yet, or none that is told.
        unsent: what has changed since the replica was made: words of `replicas.CHANGES`, with
            spaces between them.
        annotations: how many the version has; their rows are under its uuid.
        renamed: mark of the rename that gave it its key (`rename_mark`); "" = none that has one.
    """

    null_sequence: int = 0
    noncurrent_since_ms: int = 0
    owner_id: str = ""
    acl: tuple[Grant, ...] = ()
    retention_mode: str = ""
    retain_until_ms: int = 0
    legal_hold: bool = False
    encryption: Encryption | None = None
    replication: str = ""
    replica: str = ""
    unsent: str = ""
    annotations: int = 0
    renamed: str = ""


NO_ATTRIBUTES = Attributes()

_PLAIN = (
    "null_sequence",
    "noncurrent_since_ms",
    "owner_id",
    "retention_mode",
    "retain_until_ms",
    "legal_hold",
    "replication",
    "replica",
    "unsent",
    "annotations",
    "renamed",
)
_MARK_BYTES = 16


def rename_mark(token: str, *parameters: str) -> str:
    """What tells a rename that is repeated from one that takes its client's token for another;
    "" without a token.
    """
    if not token:
        return ""
    said = (enc("rename-token", token), enc("rename-parameters", *parameters))
    return "".join(sha256(part).digest()[:_MARK_BYTES].hex() for part in said)


def same_token(mark: str, other: str) -> bool:
    """Whether two marks are of one token."""
    return bool(mark) and mark[: 2 * _MARK_BYTES] == other[: 2 * _MARK_BYTES]


def document_of(attributes: Attributes) -> dict[str, Any]:
    """What differs from the defaults, for JSON; {} for NO_ATTRIBUTES."""
    document: dict[str, Any] = {}
    for name in _PLAIN:
        value = getattr(attributes, name)
        if value != getattr(NO_ATTRIBUTES, name):
            document[name] = value
    if attributes.acl:
        document["acl"] = [[g.kind, g.grantee, g.permission] for g in attributes.acl]
    chosen = attributes.encryption
    if chosen is not None:
        document["encryption"] = [
            chosen.kind,
            chosen.key_id,
            chosen.bucket_key,
            chosen.context,
            chosen.key_check,
        ]
        if chosen.bound_epoch:
            document["encryption"].append(chosen.bound_epoch)
    return document


def attributes_of(document: dict[str, Any]) -> Attributes:
    """What `document_of` wrote. Raises: KeyError, ValueError, TypeError."""
    if not document:
        return NO_ATTRIBUTES
    fields = {name: document[name] for name in _PLAIN if name in document}
    unknown = document.keys() - fields.keys() - {"acl", "encryption"}
    if unknown:
        raise ValueError(f"attributes of a newer version: {sorted(unknown)}")
    chosen = None
    if "encryption" in document:
        kind, key_id, bucket_key, context, key_check, *more = document["encryption"]
        (bound_epoch,) = more or (0,)
        chosen = Encryption(
            kind=kind,
            key_id=key_id,
            bucket_key=bucket_key,
            context=context,
            key_check=key_check,
            bound_epoch=bound_epoch,
        )
    acl = tuple(
        Grant(kind=kind, grantee=grantee, permission=permission)
        for kind, grantee, permission in document.get("acl", ())
    )
    return Attributes(acl=acl, encryption=chosen, **fields)
