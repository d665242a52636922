"""What approvers are asked: an act that cannot be taken back, as text that says exactly what.

The text is what is signed. It has one form: what is read is written again and compared, so two
texts never mean one request, and no field can be added. Each `permits` line is one thing that the
request allows, by ids that are never given twice, not by names that can be taken again. Pure.

Source: docs/erasure.md, "Approvals".
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from hashlib import sha256

from storaged.base.errors import Kind, StorageError

TEXT_BYTES_MAX = 256 * 1024
PERMITS_MAX = 4096
LIFETIME_MS_MAX = 400 * 86_400_000
NONCE_BYTES = 16
NAME_DIGEST_BYTES = 16

_HEAD = "hexagone approval request v1"
_HEX32 = re.compile(r"[0-9a-f]{32}")
_HEX64 = re.compile(r"[0-9a-f]{64}")
_PERMIT = re.compile(r"[a-z-]{1,32}(/[A-Za-z0-9._-]{1,128}){1,4}")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")
_FIELDS = (
    "act",
    "cluster",
    "about",
    "name-check",
    "objects",
    "bytes",
    "requester",
    "created",
    "not-before",
    "expires",
    "nonce",
)


class RequestInvalid(StorageError):
    """The approval request is not usable."""

    kind = Kind.INVALID


class Act(StrEnum):
    """What is asked for."""

    DESTROY_KEY = "destroy-key"
    ERASE_OBJECT = "erase-object"
    ERASE_BUCKET = "erase-bucket"
    ERASE_TENANT = "erase-tenant"
    SET_APPROVERS = "set-approvers"
    FORGET_EVENTS = "forget-events"
    RESTORE_KEYS = "restore-keys"


IN_WORDS = {
    Act.DESTROY_KEY: "destroy epochs of keys; what is still under them is lost for ever",
    Act.ERASE_OBJECT: "erase an object, by destroying the older epochs of its bucket's and tenant's"
    " keys after everything else has moved",
    Act.ERASE_BUCKET: "erase a bucket with all that is in it, for ever",
    Act.ERASE_TENANT: "erase a tenant with all buckets, users and keys, for ever",
    Act.SET_APPROVERS: "change who approves",
    Act.FORGET_EVENTS: "erase from the journal who caused events of S3",
    Act.RESTORE_KEYS: "write keys back from a recovery backup, once; a destroyed key that is named"
    " below comes back as well, with all that lies under it",
}

# What each act may permit, so that the words above never stand over something else.
PERMITTED = {
    Act.DESTROY_KEY: ("tenant-key", "bucket-key", "named-key"),
    Act.ERASE_OBJECT: ("object", "tenant-key", "bucket-key"),
    Act.ERASE_BUCKET: ("bucket", "tenant-key", "bucket-key"),
    Act.ERASE_TENANT: ("tenant", "tenant-key"),
    Act.SET_APPROVERS: ("approvers",),
    Act.FORGET_EVENTS: ("journal",),
    Act.RESTORE_KEYS: ("backup", "into", "journal", "without", "bring-back"),
}


def tenant_key_item(tenant_id: bytes, epoch: int) -> str:
    """What allows to destroy an epoch of a tenant's key."""
    return f"tenant-key/{tenant_id.hex()}/{epoch}"


def bucket_key_item(bucket_id: bytes, epoch: int) -> str:
    """What allows to destroy an epoch of a bucket's key."""
    return f"bucket-key/{bucket_id.hex()}/{epoch}"


def named_key_item(tenant_id: bytes, name: str, epoch: int) -> str:
    """What allows to destroy an epoch of a named key; its name is told by its digest."""
    digest = sha256(name.encode()).digest()[:NAME_DIGEST_BYTES]
    return f"named-key/{tenant_id.hex()}/{digest.hex()}/{epoch}"


def approvers_item(digest: str) -> str:
    """What allows to change to a set of approvers."""
    return f"approvers/{digest}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A request for approval.

    Args:
        cluster: hex id of the cluster.
        about: what it is about, by id. No name stands here, for a deletion certificate shows it.
        name_check: `name_check` of its name, which whoever approves types from what he knows.
        objects, size_bytes: what is lost.
        requester: who asks; he cannot approve it.
        permits: what it allows, by id.
        nonce: 32 hex digits.
        not_before_ms, expires_ms: when it may be used.

    Raises (on construction): RequestInvalid.
    """

    act: Act
    cluster: str
    about: str
    name_check: str
    objects: int
    size_bytes: int
    requester: str
    created_ms: int
    not_before_ms: int
    expires_ms: int
    nonce: str
    permits: tuple[str, ...]

    def __post_init__(self) -> None:
        if not _HEX32.fullmatch(self.cluster) or not _HEX32.fullmatch(self.nonce):
            raise RequestInvalid(reason="cluster and nonce are 32 hex digits")
        if not _HEX64.fullmatch(self.name_check):
            raise RequestInvalid(reason="the check of the name has another form")
        if not 1 <= len(self.permits) <= PERMITS_MAX or len(set(self.permits)) != len(self.permits):
            raise RequestInvalid(permits=len(self.permits), most=PERMITS_MAX)
        if not all(_PERMIT.fullmatch(item) for item in self.permits):
            raise RequestInvalid(reason="what is permitted has another form")
        if not {item.partition("/")[0] for item in self.permits} <= set(PERMITTED[self.act]):
            raise RequestInvalid(reason=f"{self.act.value} permits something else")
        if not (self.about + self.requester).isprintable():
            raise RequestInvalid(reason="it holds what a terminal would not show as it is")
        if not self.created_ms <= self.not_before_ms < self.expires_ms:
            raise RequestInvalid(reason="it would end before it begins")
        if self.expires_ms - self.created_ms > LIFETIME_MS_MAX:
            raise RequestInvalid(reason="it would live for more than 400 days")
        if len(self.text.encode()) > TEXT_BYTES_MAX:
            raise RequestInvalid(reason="it is about too much at once", most=TEXT_BYTES_MAX)

    @property
    def text(self) -> str:
        """The text that is signed."""
        values = (
            self.act.value,
            self.cluster,
            json.dumps(self.about),
            self.name_check,
            str(self.objects),
            str(self.size_bytes),
            json.dumps(self.requester),
            str(self.created_ms),
            str(self.not_before_ms),
            str(self.expires_ms),
            self.nonce,
        )
        lines = [_HEAD, *(f"{n}: {v}" for n, v in zip(_FIELDS, values, strict=True))]
        lines += [f"permits: {item}" for item in self.permits]
        return "".join(f"{line}\n" for line in lines)

    @property
    def request_id(self) -> str:
        """32 hex digits that name it."""
        return request_id(self.text)

    def is_about(self, name: str) -> bool:
        """Whether the request is about something of this name."""
        return name_check(self.nonce, name) == self.name_check

    def in_words(self) -> list[str]:
        """What somebody reads before he signs."""
        lost = f"Lost for ever: {self.objects} object version(s), {self.size_bytes} bytes."
        return [
            f"You are asked to approve: {IN_WORDS[self.act]}.",
            f"About: {self.about}",
            *([] if self.act is Act.RESTORE_KEYS else [lost]),
            f"Asked by {self.requester} on {day(self.created_ms)}.",
            f"It may be done from {day(self.not_before_ms)} until {day(self.expires_ms)}.",
            f"Cluster {self.cluster}; request {self.request_id}.",
            "It permits exactly:",
            *(f"  {item}" for item in self.permits),
        ]


def name_check(nonce: str, name: str) -> str:
    """What a request tells of a name: enough to compare it, too little to read it."""
    return sha256(bytes.fromhex(nonce) + name.encode()).hexdigest()


def request_id(text: str) -> str:
    """The id of the request with this text."""
    return sha256(text.encode()).hexdigest()[:32]


def day(at_ms: int) -> str:
    """An instant for people, UTC, to the second."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def read_request(text: str) -> Request:
    """A request from its text. Raises: RequestInvalid."""
    if len(text) > TEXT_BYTES_MAX or not text.isascii():
        raise RequestInvalid(reason="no request: it is too long, or no plain text")
    lines = text.split("\n")
    if lines[0] != _HEAD or len(lines) < len(_FIELDS) + 3:
        raise RequestInvalid(reason="no request")
    held: dict[str, str] = {}
    for name, line in zip(_FIELDS, lines[1:], strict=False):
        before, separator, value = line.partition(": ")
        if before != name or not separator:
            raise RequestInvalid(reason=f"{name} is wanted")
        held[name] = value
    permits = lines[len(_FIELDS) + 1 : -1]
    try:
        found = Request(
            act=Act(held["act"]),
            cluster=held["cluster"],
            about=_text(held["about"]),
            name_check=held["name-check"],
            objects=_number(held["objects"]),
            size_bytes=_number(held["bytes"]),
            requester=_text(held["requester"]),
            created_ms=_number(held["created"]),
            not_before_ms=_number(held["not-before"]),
            expires_ms=_number(held["expires"]),
            nonce=held["nonce"],
            permits=tuple(line.removeprefix("permits: ") for line in permits),
        )
    except ValueError as error:
        raise RequestInvalid(reason="a field has another form") from error
    if found.text != text:
        raise RequestInvalid(reason="not in its one form")
    return found


def _text(value: str) -> str:
    found = json.loads(value)
    if not isinstance(found, str):
        raise ValueError("no text")
    return found


def _number(value: str) -> int:
    if not _NUMBER.fullmatch(value):
        raise ValueError("no number")
    return int(value)
