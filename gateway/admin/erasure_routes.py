"""Routes of the admin port about erasures and approvals, a line each; and what they answer.

Not what they do: `gateway.admin.erasure_desk`, `gateway.admin.approval_desk`.
"""

from __future__ import annotations

from typing import NotRequired, TypedDict

from gateway.admin.answer_shapes import Row
from gateway.admin.route_table import RouteEntry, acts, reads
from gateway.model.administrators import Role

AUDIT = Role.AUDITOR
KEYS = Role.CUSTODIAN
STORAGE = Role.STORAGE_ADMIN


class Erasures(TypedDict):
    """Erasures, the latest first."""

    erasures: list[Row]


class ErasurePlan(TypedDict):
    """What an erasure would take, and when."""

    kind: str
    name: str
    objects: int
    size_bytes: int
    notice_days: int
    kept_until_ms: int
    disabled_hours: int
    approvals: int
    backup_retention_days: int | None


class ErasureBegun(TypedDict):
    """An erasure, or an object that was only deleted."""

    erasure: NotRequired[Row]
    deleted: NotRequired[int]
    level: NotRequired[str]
    shredded: NotRequired[str]


class Certificate(TypedDict):
    """A signed deletion certificate, as its file."""

    certificate: str


class Purged(TypedDict):
    """Rows that were taken away, and that are left, by what they are."""

    bucket: str
    purged: NotRequired[dict[str, int]]
    left: dict[str, int]


class Approvers(TypedDict):
    """Who approves; threshold 0: nobody has to."""

    threshold: int
    version: int
    approvers: list[str]


class Approvals(Approvers):
    """Who approves, and what waits for it."""

    requests: list[Row]


class ApprovalRequest(TypedDict):
    """A request for approval, with the text that is signed."""

    id: str
    act: str
    name: str
    text: str
    in_words: list[str]
    requester: str
    created_ms: int
    not_before_ms: int
    expires_ms: int
    objects: int
    size_bytes: int
    approved_by: list[str]
    lacking: int


class EventsOfSomebody(TypedDict):
    """Events of a log that somebody caused, at most so many."""

    log: str
    seqs: list[int]
    most: int


class Forgotten(TypedDict):
    """How many bodies of events were erased."""

    log: str
    erased: int


_WHAT = "tenant? bucket? key? version?"

ERASURE_ROUTES: tuple[RouteEntry, ...] = (
    reads("/v1/erasure", "Erasures and how far they are", (KEYS, STORAGE, AUDIT), Erasures),
    reads(
        "/v1/erasure/plan", "What an erasure would take", (KEYS, STORAGE, AUDIT), ErasurePlan, _WHAT
    ),
    reads(
        "/v1/erasure/certificate",
        "The certificate of an erasure that has ended",
        (KEYS, AUDIT),
        Certificate,
        "id",
    ),
    acts(
        "/v1/erasure/begin",
        "Begin to erase a tenant, a bucket or an object for good",
        (KEYS,),
        ErasureBegun,
        f"{_WHAT} certify? lose",
    ),
    acts("/v1/erasure/cancel", "Take an erasure back", (KEYS,), ErasureBegun, "id"),
    reads(
        "/v1/purge/plan", "What lies under destroyed keys", (KEYS, STORAGE, AUDIT), Purged, "bucket"
    ),
    acts(
        "/v1/purge",
        "Take away what lies under destroyed keys of a bucket",
        (KEYS,),
        Purged,
        "bucket",
    ),
    reads("/v1/approvers", "Who approves", (KEYS, STORAGE, AUDIT), Approvers),
    acts("/v1/approvers/set", "Register approvers", (KEYS,), Approvers, body="document"),
    reads("/v1/approvals", "Requests for approval", (KEYS, STORAGE, AUDIT), Approvals),
    reads(
        "/v1/approvals/show",
        "A request for approval",
        (KEYS, STORAGE, AUDIT),
        ApprovalRequest,
        "id",
    ),
    acts(
        "/v1/approvals/submit",
        "Hand an approval in",
        (KEYS,),
        ApprovalRequest,
        body="id by signature",
    ),
    reads(
        "/v1/journal-bodies",
        "Events of S3 that somebody caused",
        (KEYS, AUDIT),
        EventsOfSomebody,
        "log subject",
    ),
    acts(
        "/v1/journal-bodies/erase",
        "Erase bodies of events from the journal",
        (KEYS,),
        Forgotten,
        "log seqs",
    ),
)
