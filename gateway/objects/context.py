"""What a use case gets: who asks, until when, and the stores of this process.

Not for deciding anything. `Services` is made once by the composition root, a `Context` per request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

from gateway.commit.change import Change, Committed
from gateway.commit.reservations import Reservations
from gateway.meta.kv import MetaStore
from gateway.meta.sealing import NonceSource, RecordKeys
from gateway.model.layout import Geometry, StripeRow, Tier
from gateway.model.names import ObjectUuid, TenantId
from gateway.model.policy_identity import Rights
from gateway.model.version import Pairs
from gateway.objects.contention import RowQueues
from gateway.objects.demand import Demand
from gateway.objects.identities import Identities
from gateway.objects.log_spool import LogSpool
from gateway.objects.open_reads import OpenReads
from gateway.objects.opened import OpenedRows
from gateway.objects.quotas import Quotas
from gateway.objects.refused_acts import RefusedActs
from gateway.objects.replica_backlog import Backlog
from gateway.objects.throttle import Throttle
from storaged.base.env import Env
from storaged.base.ids import StripeId

if TYPE_CHECKING:
    from gateway.data.buffers import BufferPool
    from gateway.data.stripes import StripeStore
    from gateway.journal.journal import Journal
    from gateway.objects.bucket_keys import BucketKeys
    from gateway.objects.credentials import Credentials
    from gateway.objects.damage import DamageQueue
    from gateway.objects.lock_clock import LockClock
    from gateway.objects.metering import Meter
    from gateway.objects.target import BucketCache


class CommitLog(MetaStore, Protocol):
    """What use cases need of `gateway.commit.log.Log`."""

    @property
    def reservations(self) -> Reservations:
        """Stripe ids of this writer epoch."""
        ...

    @property
    def tier(self) -> Tier:
        """What a data stripe must reach."""
        ...

    async def commit_change(self, change: Change) -> Committed:
        """See `Log.commit_change`."""
        ...

    def check_reach(self) -> None:
        """See `Log.check_reach`."""
        ...

    def is_undecided(self, reserved: StripeId) -> bool:
        """See `Log.is_undecided`."""
        ...

    @property
    def has_unknown(self) -> bool:
        """See `Log.has_unknown`."""
        ...

    def stripe_row(self, stripe: StripeId) -> StripeRow | None:
        """The applied row of a stripe; None when the index does not know it."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """An authenticated caller.

    Args:
        tenant: the tenant the caller belongs to.
        owner_id: what S3 answers as Owner/ID.
        user: "root" for the account itself; role/session for who has become a role.
        display_name: what S3 answers as DisplayName.
        user_id: "" for the account itself.
        role: what the caller has become; "" = is itself.
        tags: of the user.
        issued_at_ms: when the session began; None: there is none, the access key is a lasting one.
        rights: None = whatever the account may, which is so for its root.
    """

    tenant: TenantId
    access_key_id: str
    owner_id: str
    user: str = "root"
    display_name: str = ""
    user_id: str = ""
    role: str = ""
    tags: Pairs = ()
    issued_at_ms: int | None = None
    rights: Rights | None = field(default=None, compare=False, repr=False)


@dataclass(slots=True)
class Waiting:
    """About how many rows of a queue there are, how many were added since the start, and how many
    were never written because there were too many.
    """

    count: int = 0
    added: int = 0
    dropped: int = 0


@dataclass(slots=True, kw_only=True)
class Services:
    """Everything that lives as long as the process.

    Args:
        records: keys of row values; its bucket ciphers come from `bucket_keys`.
        region: what the endpoint signs for, and where a bucket without a location constraint is.
        locations: location constraints that CreateBucket accepts beside "".
        regions: number by name, of the locations whose nodes alone may hold bodies.
        tier_floor: the lowest tier that large bodies may go on at when nodes are away.
        class_geometries: of the storage classes that have one of their own.
        queues: writers that have collided.
        reads: reads under way, for the free job.
        demand: requests of clients, for jobs that give way to them.
        damage: shards that reads have found broken, for the repair job.
        quotas: limits of tenants and buckets.
        throttle: limits of access keys and addresses.
        refused_acts: who has asked for what was refused.
        meter: what tenants pay for; None: nobody counts.
        lock_clock: what time it is for locks; None: what the wall clock says.
        customer_key_writes: requests that write under keys of clients, so far.
        deletes: objects and versions that clients have deleted, so far.
        in_the_making: uuids whose rows a garbage row names until a copy gives them a version.
        opened: version rows that reads have opened.
        identities: accounts by canonical id.
        log_spool: lines of access logs that are in no row yet.
        new_buckets_open: new buckets have ACLs in force and no block of public access, as before
            2023; for suites of tests only.
        sse_over_http: SSE-C and named keys are taken over plain HTTP; for suites of tests only.
        events_waiting: rows of events that are still to be told.
        replica_backlog: versions that are still to be replicated.
        event_targets: what can be told of events, by name: canonical ids of the accounts whose
            buckets may; none named: all.
        replication_targets: likewise, the buckets elsewhere that can be replicated to.
        lifecycle_day_s: seconds that rules of a lifecycle take for a day.
        log_roll_s: seconds after which an access log is delivered.
        sigv2: signatures of version 2 are taken; for suites of tests only.
        test_kms_keys: named keys that exist in every tenant's keyring; for suites of tests only.
        journal: the tamper-evident journal; None: nothing is recorded.
    """

    env: Env
    log: CommitLog
    stripes: StripeStore
    pool: BufferPool
    geometry: Geometry
    cluster_id: bytes
    records: RecordKeys
    nonces: NonceSource
    bucket_keys: BucketKeys
    buckets: BucketCache
    credentials: Credentials
    damage: DamageQueue
    region: str
    locations: frozenset[str]
    regions: Mapping[str, int] = field(default_factory=dict)
    tier_floor: Tier = Tier.NODE
    class_geometries: Mapping[str, Geometry] = field(default_factory=dict)
    queues: RowQueues = field(default_factory=RowQueues)
    reads: OpenReads = field(default_factory=OpenReads)
    demand: Demand = field(default_factory=Demand)
    in_the_making: set[ObjectUuid] = field(default_factory=set)
    opened: OpenedRows = field(init=False)
    identities: Identities = field(init=False)
    log_spool: LogSpool = field(init=False)
    replica_backlog: Backlog = field(init=False)
    new_buckets_open: bool = False
    sse_over_http: bool = False
    events_waiting: Waiting = field(default_factory=Waiting)
    event_targets: Mapping[str, frozenset[str]] = field(default_factory=dict)
    replication_targets: Mapping[str, frozenset[str]] = field(default_factory=dict)
    lifecycle_day_s: float = 86400.0
    log_roll_s: float = 3600.0
    sigv2: bool = False
    test_kms_keys: tuple[str, ...] = ()
    quotas: Quotas = field(default_factory=Quotas)
    throttle: Throttle = field(init=False)
    refused_acts: RefusedActs = field(init=False)
    meter: Meter | None = None
    lock_clock: LockClock | None = None
    customer_key_writes: int = 0
    deletes: int = 0
    journal: Journal | None = None

    def may_use(self, targets: Mapping[str, frozenset[str]], name: str, tenant: TenantId) -> bool:
        """Whether buckets of a tenant may name one of these targets. Raises: RowCorrupt."""
        accounts = targets.get(name)
        if accounts is None:
            return False
        return not accounts or self.identities.of_tenant(tenant).owner_id in accounts

    def geometry_of(self, storage_class: str) -> Geometry:
        """What bodies of a class that have stripes of their own are coded with."""
        return self.class_geometries.get(storage_class, self.geometry)

    def __post_init__(self) -> None:
        self.throttle = Throttle(self.env)
        self.refused_acts = RefusedActs(self.env)
        self.opened = OpenedRows(self.records, self.bucket_keys)
        self.identities = Identities(self.log, self.records, self.env)
        self.log_spool = LogSpool(self)
        self.replica_backlog = Backlog(self)


class RequestFacts(NamedTuple):
    """What conditions of a policy may ask about a request, beside who asks and for what.

    Args:
        headers: by lower-case name.
        query: decoded, by name.
        source_ip: "" when unknown.
        is_presigned: the signature came in the query.
        request_tags: tags that the body asks for; None: those of the x-amz-tagging header.
        tls_version: such as "1.3"; "" without TLS.
        form_signature: how a form was signed, as policies name it; "": it was not, or is none.
        is_form: the headers are the fields of a form.
    """

    headers: Mapping[str, str]
    query: Mapping[str, str]
    source_ip: str
    is_secure: bool
    is_presigned: bool
    request_tags: Mapping[str, str] | None = None
    tls_version: str = ""
    form_signature: str = ""
    is_form: bool = False


NO_FACTS = RequestFacts({}, {}, "", False, False)


@dataclass(slots=True)
class Context:
    """One request.

    Args:
        principal: None for an anonymous request.
        request_id: 16 random bytes, for logs and answers.
        deadline_s: monotonic time after which work for the request is pointless.
        facts: NO_FACTS for work of our own.
    """

    services: Services
    principal: Principal | None
    request_id: bytes
    deadline_s: float
    facts: RequestFacts = NO_FACTS

    def about(self, version_id: str | None) -> Context:
        """The same request, as policies see it where it names a version elsewhere than in its
        query: one of a batch, or the source of a copy.
        """
        facts = self.facts
        if facts is NO_FACTS or facts.query.get("versionId") == version_id:
            return self
        query = {name: facts.query[name] for name in facts.query if name != "versionId"}
        if version_id is not None:
            query["versionId"] = version_id
        return replace(self, facts=facts._replace(query=query))
