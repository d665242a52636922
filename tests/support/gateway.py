"""A whole gateway in this process: use cases over the real log, memory nodes and a memory index.

Not for HTTP: tests call the use cases. One tenant, one root user, one bucket named "bucket".
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from gateway.commit.fencing import EpochHistory
from gateway.commit.group_store import GroupStore
from gateway.commit.log import Log
from gateway.commit.opening import LogParts, open_log
from gateway.data.envelope import (
    KeyProvider,
)
from gateway.data.placement import reachable_tier
from gateway.meta import accounts, keyspace
from gateway.meta.kv import Batch, Index, Write
from gateway.meta.memory import MemoryStore
from gateway.meta.records import open_stored_bytes
from gateway.meta.sealing import NonceSource
from gateway.meta.stripes import StripeCodec, scan_stripes
from gateway.model.checksums import digest_of
from gateway.model.layout import Geometry, Tier
from gateway.model.names import TenantId
from gateway.objects import buckets
from gateway.objects.body import Buffer, ExpectedDigest
from gateway.objects.bucket_keys import BucketKeys
from gateway.objects.context import Context, Principal, Services
from gateway.objects.credentials import Credentials
from gateway.objects.damage import DamageQueue
from gateway.objects.get import get_object
from gateway.objects.put import put_object
from gateway.objects.releases import releases_of
from gateway.objects.target import BucketCache
from gateway.objects.values import GetOptions, ObjectHead, ObjectRead, PutOptions
from storaged.base.env import Env
from storaged.base.errors import StorageError
from tests.support.cluster import MemoryCluster, memory_cluster
from tests.support.log_rig import MemoryHistory, keys_of
from tests.support.memory_keyring import MemoryKeyring as MemoryKeyring

TENANT = TenantId(b"tenant-of-tests!")
OTHER_TENANT = TenantId(b"some-other-tenan")
ACCESS_KEY = "HXTESTS0000000000001"
SECRET = "not-a-secret-but-long-enough-for-one"
ROOT = Principal(
    tenant=TENANT, access_key_id=ACCESS_KEY, owner_id="owner-of-tests", display_name="tests"
)
STRANGER = Principal(tenant=OTHER_TENANT, access_key_id="HXOTHER", owner_id="stranger")
CLUSTER_ID = b"c" * 16
BUCKET = "bucket"


class BytesBody:
    """A body from bytes, cut in pieces of `piece_bytes`."""

    def __init__(
        self,
        content: bytes,
        *,
        piece_bytes: int = 64 * 1024,
        digests: tuple[str, ...] = (),
        expected: Sequence[ExpectedDigest] = (),
        fails_at: int | None = None,
        error: Callable[[], StorageError] = StorageError,
        length: int | None = None,
    ) -> None:
        self.length = len(content) if length is None else length
        self.digests = digests
        self._content = memoryview(content)
        self._piece_bytes = piece_bytes
        self._expected = tuple(expected)
        self._fails_at = fails_at
        self._error = error
        self._at = 0
        self.ended = False

    async def read(self) -> Buffer:
        """The next piece; raises `error` once `fails_at` bytes were read."""
        if self._fails_at is not None and self._at >= self._fails_at:
            raise self._error()
        piece = self._content[self._at : self._at + self._piece_bytes]
        self._at += len(piece)
        self.ended = not piece
        return piece

    def expected(self) -> tuple[ExpectedDigest, ...]:
        """What the test said."""
        assert self.ended, "digests are known after the end only"
        return self._expected


class Gateway:
    """Services of one process, and short ways to call the commonest use cases."""

    def __init__(self, services: Services, cluster: MemoryCluster, log: Log, index: Index) -> None:
        self.services = services
        self.cluster = cluster
        self.log = log
        self.index = index
        self._requests = 0

    def ctx(self, principal: Principal | None = ROOT) -> Context:
        """A request of its own."""
        self._requests += 1
        request_id = self._requests.to_bytes(16, "big")
        return Context(self.services, principal, request_id, self.services.env.monotonic_s() + 60)

    async def put(
        self,
        key: str,
        content: bytes,
        options: PutOptions | None = None,
        *,
        bucket: str = BUCKET,
        piece_bytes: int = 64 * 1024,
    ) -> ObjectHead:
        """Store an object."""
        body = BytesBody(content, piece_bytes=piece_bytes)
        return await put_object(self.ctx(), bucket, key, body, options or PutOptions())

    async def get(
        self, key: str, options: GetOptions | None = None, *, bucket: str = BUCKET
    ) -> bytes:
        """The bytes that a GET sends."""
        found = await self.open(key, options, bucket=bucket)
        return await content_of(found)

    async def open(
        self, key: str, options: GetOptions | None = None, *, bucket: str = BUCKET
    ) -> ObjectRead:
        """An answer to GET."""
        return await get_object(self.ctx(), bucket, key, options or GetOptions())

    def live_bytes(self) -> dict[str, int]:
        """Live bytes of all stripes that have any."""
        rows = scan_stripes(self.log, self.services.records, None, limit=10_000)
        return {str(row.row.stripe): row.row.live_bytes for row in rows if row.row.live_bytes}

    def named_bytes(self) -> dict[str, int]:
        """Bytes of each stripe that rows of versions, parts and annotations name: what live bytes
        must be.
        """
        named: dict[str, int] = {}
        families = (keyspace.CURRENT, keyspace.NONCURRENT, keyspace.PART, keyspace.ANNOTATION)
        for family in families:
            for row in self.log.scan(family, keyspace.successor(family), limit=10_000):
                layout = open_stored_bytes(self.services.records, row.key, row.value).layout
                if layout is None:
                    continue
                for change in releases_of(layout):
                    stripe = str(change.stripe)
                    named[stripe] = named.get(stripe, 0) - change.live_delta
        return named

    def rows_of(self, family: bytes) -> list[bytes]:
        """Row keys of a family, of all buckets."""
        end = bytes((family[0] + 1,))
        return [row.key for row in self.log.scan(family, end, limit=10_000)]


async def content_of(found: ObjectRead) -> bytes:
    """All bytes of a read."""
    assert found.body is not None
    content = b"".join([bytes(piece) async for piece in found.body])
    assert len(content) == found.length
    return content


def right(algorithm: str, content: bytes, error: Callable[[], StorageError]) -> ExpectedDigest:
    """A digest that holds."""
    return ExpectedDigest(algorithm, digest_of(algorithm, content), error)


@asynccontextmanager
async def memory_gateway(
    *,
    seed: int = 1,
    env: Env | None = None,
    geometry: Geometry | None = None,
    index: Index | None = None,
    history: EpochHistory | None = None,
    cluster: MemoryCluster | None = None,
    with_bucket: bool = True,
    keyring: KeyProvider | None = None,
) -> AsyncIterator[Gateway]:
    """A gateway that serves until the block ends.

    Args:
        cluster, index, history, keyring: of an earlier gateway, to start again on what it left.
    """
    cluster = cluster or memory_cluster(geometry=geometry, seed=seed)
    index = index or MemoryStore(bytes(32))
    gateway = await _open(
        cluster, env or cluster.env, index, history or MemoryHistory(), keyring or MemoryKeyring()
    )
    try:
        if with_bucket:
            await _first_start(gateway)
        yield gateway
    finally:
        await gateway.log.close()


async def _open(
    cluster: MemoryCluster, env: Env, index: Index, history: EpochHistory, keyring: KeyProvider
) -> Gateway:
    bucket_keys = BucketKeys(index, keyring, b"r" * 32, env)
    records = bucket_keys.records
    sources: list[NonceSource] = []

    def codec_of(epoch: int) -> StripeCodec:
        sources.append(NonceSource(epoch))
        return StripeCodec(records, sources[-1])

    keys = keys_of(b"root")
    groups = GroupStore(
        store=cluster.store,
        nodes=cluster.nodes,
        geometry=cluster.geometry,
        log=keys.log,
        instance=env.random_bytes(16),
        history=history,
        tier_floor=Tier.NODE,
        reachable=lambda: reachable_tier(
            cluster.topology, cluster.geometry, cluster.health.usable()
        ),
    )
    parts = LogParts(
        index=index,
        groups=groups,
        keys=keys,
        codec_of=codec_of,
        geometry=cluster.geometry,
        env=env,
    )
    log = await open_log(parts)
    services = Services(
        env=env,
        log=log,
        stripes=cluster.store,
        pool=cluster.pool,
        geometry=cluster.geometry,
        cluster_id=CLUSTER_ID,
        records=records,
        nonces=sources[-1],
        bucket_keys=bucket_keys,
        buckets=BucketCache(log, records),
        credentials=Credentials(log, records, env),
        damage=DamageQueue(),
        region="fr",
        locations=frozenset({"fr", "eu"}),
    )
    return Gateway(services, cluster, log, index)


async def _first_start(gateway: Gateway) -> None:
    services = gateway.services
    records, nonces = services.records, services.nonces
    tenant = accounts.Tenant(
        tenant_id=TENANT, name="tests", owner_id=ROOT.owner_id, created_at_ms=1
    )
    key = accounts.AccessKey(
        access_key_id=ACCESS_KEY,
        secret=SECRET,
        tenant=TENANT,
        user="root",
        created_at_ms=1,
        enabled=True,
    )
    writes: tuple[Write, ...] = (
        accounts.set_tenant(records, nonces, tenant),
        accounts.set_access_key(records, nonces, key),
    )
    await gateway.log.commit(
        Batch(
            partition=bytes(16), request_id=services.env.random_bytes(16), checks=(), writes=writes
        )
    )
    await buckets.create_bucket(gateway.ctx(), BUCKET, None)
