"""What the admin port answers, as types: the API's document is made from them.

Not checked when something is answered: a test holds answers of a running gateway against these.
What is `dict[str, Any]` has names chosen by data, or follows the document of the command that
prints it.

Source: docs/admin-api.md.
"""

from __future__ import annotations

from typing import Any, NotRequired, TypedDict

Row = dict[str, Any]


class Failure(TypedDict):
    """Why nothing was done."""

    error: str
    kind: str
    hint: str | None
    title: NotRequired[str]
    fields: NotRequired[dict[str, str]]


# The cluster


class Tier(TypedDict):
    """What a write gets."""

    name: str
    meaning: str
    applies_to: str
    epoch: str
    reachable: str


class Writes(TypedDict):
    """Whether writes are taken, and else why not."""

    accepted: bool
    reason: str


class JobProgress(TypedDict):
    """How far a job is; `total` 0: it cannot say."""

    done: int
    total: int
    unit: str
    detail: str
    waiting: int


class Job(TypedDict):
    """A background job."""

    name: str
    state: str
    rounds: int
    failures: int
    last_error: str
    progress: JobProgress


class Status(TypedDict):
    """The cluster as this gateway sees it."""

    cluster: str
    region: str
    geometry: Row
    at_ms: int
    uptime_s: int
    tier: Tier
    writes: Writes
    warnings: list[str]
    log: Row
    nodes: list[Row]
    regions: list[Row]
    margins: Row
    repair: Row
    jobs: list[Job]
    index: Row
    keys: Row
    buffers: Row
    admin: Row


class DurabilityReport(TypedDict):
    """The model's figures for the layout in use and for production's."""

    present: Row
    production: Row
    sentence: str
    assumptions: Row
    meaning: str
    caveats: list[str]


class Where(TypedDict):
    """Where an object is recorded to be."""

    bucket: str
    key: str
    content_bytes: int
    kind: str
    recorded: str
    part_count: int
    annotation_count: int
    parts: list[Row]
    stripe_count: int
    stripes_counted: int
    stripes: list[Row]
    stripe_rows_missing: int
    shards_nowhere: int
    shards_outside: int
    lowest_margin: int | None
    stripes_too_much_with_one: int
    datacenters: list[Row]
    countries: list[str]
    operators: list[Row]


class Attestation(TypedDict):
    """A signed statement about where an object is."""

    statement: Row
    public_key: str
    signature: str


class Produced(TypedDict):
    """What an order could obtain, and what of it can be read."""

    party: Row
    tenant: str
    at_ms: int
    nodes: list[Row]
    gateway_is_there: bool
    drives: Row
    keys: Any
    custody: Row | None
    in_clear: list[str]
    content: Row
    says: list[str]


class Jobs(TypedDict):
    """All background jobs."""

    jobs: list[Job]


class OneJob(TypedDict):
    """One background job, as it is after the act."""

    job: Job


class JobRound(TypedDict):
    """A job after a round of it."""

    job: Job
    result: Row


# Keys


class KeyName(TypedDict):
    """A named key, with its epochs, the oldest first."""

    name: str
    epochs: list[Row]


class NamedKeys(TypedDict):
    """Named keys of an account, which clients call KMS keys."""

    keys: list[KeyName]


class KeyEpochs(TypedDict):
    """Epochs of the keys of tenants and buckets; `kept_in` says where keys of tenants are."""

    tenants: list[Row]
    buckets: list[Row]
    is_truncated: bool
    kept_in: str


class Rotations(TypedDict):
    """Rotations under way and reports of those that have ended."""

    rotations: list[Row]
    reports: list[Row]
    said: str


class Begun(TypedDict):
    """Rotations that have begun, or would."""

    begun: list[Row]
    under_way: list[Row]
    dry_run: bool


class LeftUnderKey(TypedDict):
    """What is still under an epoch, by what it is."""

    kind: str
    name: str
    epoch: int
    named: str
    left: dict[str, int]


class EpochState(TypedDict):
    """An epoch after the act."""

    kind: str
    name: str
    epoch: Row


class Destroyed(TypedDict):
    """What went with a key."""

    kind: str
    name: str
    epoch: int
    lost: Any


# The journal


class JournalState(TypedDict):
    """Logs, public keys, and whether events are taken."""

    folder: str
    accesses: str
    accesses_required: bool
    failure: str
    waiting: int
    lost: int
    keys: list[str]
    chain: str
    logs: list[Row]


class JournalKeys(TypedDict):
    """What the journal is signed with from here on."""

    number: int
    keys: list[str]
    chain: str


class Lines(TypedDict):
    """Lines of a log, as they are kept."""

    first: int
    lines: list[str]


class Proof(TypedDict):
    """A C2SP tlog-proof."""

    proof: str


class NameHashes(TypedDict):
    """What names are in a log."""

    log: str
    bucket: str
    key: str


class Names(TypedDict):
    """Buckets that exist, by the hashes of their names."""

    names: dict[str, str]


class WitnessRequest(TypedDict):
    """What a witness is asked to cosign: the body of a tlog-witness request."""

    request: str


class Checkpoints(TypedDict):
    """Signed checkpoints by log."""

    checkpoints: dict[str, str]
    anchors: Row
    cosigned: str


class Cosigned(TypedDict):
    """How many events witnesses have put their name under."""

    cosigned: int


# Recovery


class Recovery(TypedDict):
    """What is known of recovery without a share."""

    is_set_up: bool
    keys: str
    cluster: NotRequired[str]
    set: NotRequired[str]
    threshold: NotRequired[int]
    shares: NotRequired[int]
    custodians: NotRequired[list[str]]
    made_at_ms: NotRequired[int]
    to: NotRequired[list[str]]
    also: NotRequired[Row]
    backup: NotRequired[Row]


class Backup(TypedDict):
    """A backup of the keys."""

    number: int
    made_at_ms: int


class Recorded(TypedDict):
    """The act that is to be done is in the journal."""

    recorded: bool


# Administrators


class AdministratorShown(TypedDict):
    """An administrator's account."""

    name: str
    person: str
    roles: list[str]
    enabled: bool
    created_at_ms: int
    changed_at_ms: int
    certificates_from_ms: int
    second_factor: bool


class OneAdministrator(TypedDict):
    """An account after the act."""

    administrator: AdministratorShown


class AdministratorsShown(TypedDict):
    """All accounts, and what the local root may."""

    administrators: list[AdministratorShown]
    local: str
    listening: str
    second_factor: str


class WhoAmI(TypedDict):
    """Who asks, as the gateway sees it."""

    name: str
    person: NotRequired[str]
    roles: list[str]
    origin: str
    may: list[str]


class ApiDocument(TypedDict):
    """This document."""

    openapi: str
    info: Row
    servers: list[Row]
    security: list[Row]
    paths: Row
    components: Row
