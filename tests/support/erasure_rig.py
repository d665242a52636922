"""A gateway in this process with a file keyring, a journal and a clock that a test moves; erasures
and approvals in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.approvals.approvers import Approver, ApproverSet
from gateway.approvals.warrant import approve
from gateway.config_erasure import ErasureConfig
from gateway.data.keyring import FileKeyring, RootKey
from gateway.jobs.erasure import ErasureKeeper
from gateway.jobs.garbage import GarbageCollector
from gateway.jobs.rotation import KeyRotation
from gateway.journal.journal import Journal, JournalConfig
from gateway.journal.opening import journal_keys
from gateway.meta.erasure_rows import Erasure
from gateway.meta.kv import Index
from gateway.meta.memory import MemoryStore
from gateway.model.erasure import ErasureKind
from gateway.objects import approving, erasing
from gateway.objects.erasing import Wanted
from tests.support.cluster import MemoryCluster, memory_cluster
from tests.support.gateway import TENANT, Gateway, memory_gateway
from tests.support.lifecycle_rig import Clock
from tests.support.log_rig import MemoryHistory
from tests.support.rotations import bucket_of

CONFIG = ErasureConfig(backup_retention_days=30)
NAMES = ("alice", "bruno", "chloe")
PRIVATE = {
    name: Ed25519PrivateKey.from_private_bytes(name.encode().ljust(32, b"."))
    for name in (*NAMES, "denis", "mallory")
}


def approver(name: str) -> Approver:
    """Somebody with a known key."""
    return Approver(name=name, public=PRIVATE[name].public_key().public_bytes_raw())


def two_of(*names: str, version: int = 1) -> ApproverSet:
    """A set of which two have to approve."""
    found = tuple(approver(name) for name in names or NAMES)
    return ApproverSet(version=version, threshold=2, approvers=found)


class ErasureRig:
    """See the module."""

    def __init__(self, gateway: Gateway, clock: Clock, root: RootKey, folder: Path) -> None:
        self.gateway = gateway
        self.clock = clock
        self.root = root
        self.folder = folder
        self.keeper = ErasureKeeper(gateway.services, CONFIG)

    @property
    def keyring(self) -> FileKeyring:
        provider = self.gateway.services.bucket_keys.provider
        assert isinstance(provider, FileKeyring)
        return provider

    async def begin(
        self, kind: ErasureKind, key: str = "", version: str = "", requester: str = "operator"
    ) -> Erasure:
        """Ask for an erasure of the tenant, the bucket, or an object in it."""
        bucket = None if kind is ErasureKind.TENANT else bucket_of(self.gateway)
        wanted = Wanted(
            kind=kind,
            tenant=TENANT,
            name="tests" if bucket is None else bucket.name,
            requester=requester,
            bucket=bucket,
            key=key,
            version=version,
        )
        return await erasing.begin(self.gateway.services, CONFIG, wanted)

    async def sign(self, request_id: str, *names: str) -> None:
        """Approve a request."""
        services = self.gateway.services
        text = approving.find(services, request_id).request.text
        for name in names:
            await approving.submit(services, request_id, approve(text, name, PRIVATE[name]))

    async def work(self) -> None:
        """Have the jobs do all that can be done at this time."""
        services = self.gateway.services
        unchanged = 0
        for _ in range(200):
            before = erasing.erasures(services)
            await self.keeper.run_until_waiting()
            rotation = KeyRotation(services)
            while not await rotation.step():
                pass
            garbage = GarbageCollector(services)
            while not await garbage.step():
                pass
            unchanged = unchanged + 1 if erasing.erasures(services) == before else 0
            if unchanged == 2:
                return
        raise AssertionError("the erasure never rests")

    def held(self, erasure: Erasure) -> Erasure:
        """The erasure as it is."""
        return erasing.find(self.gateway.services, erasure.erasure_id).erasure

    async def to_the_end(self, erasure: Erasure) -> Erasure:
        """Let days go by until nothing is left to do."""
        await self.work()
        for _ in range(3):
            self.clock.days += 21.5
            await self.work()
        return self.held(erasure)


@asynccontextmanager
async def erasure_rig(
    folder: Path,
    *,
    cluster: MemoryCluster | None = None,
    index: Index | None = None,
    history: MemoryHistory | None = None,
    clock: Clock | None = None,
    with_bucket: bool = True,
) -> AsyncIterator[ErasureRig]:
    """A rig; `cluster` and `index` of an earlier one, to go on with what it left."""
    clock = clock or Clock()
    keys = folder / "keys"
    is_new = not (keys / "root.key").exists()
    root = RootKey.create(keys, clock) if is_new else RootKey.load(keys)
    keyring = FileKeyring(keys, root, clock)
    keyring.create_tenant_key(TENANT)
    journal = Journal(
        JournalConfig(folder=folder / "journal"),
        journal_keys(root.cluster_id, root.derive),
        clock,
    )
    journal.start()
    try:
        async with memory_gateway(
            env=clock,
            keyring=keyring,
            cluster=cluster or memory_cluster(),
            index=index or MemoryStore(bytes(32)),
            history=history or MemoryHistory(),
            with_bucket=with_bucket,
        ) as gateway:
            gateway.services.cluster_id = root.cluster_id
            gateway.services.journal = journal
            yield ErasureRig(gateway, clock, root, folder)
    finally:
        await journal.close()


def run(folder: Path, scene: Callable[[ErasureRig], Awaitable[None]]) -> None:
    """Run a scene over a rig."""

    async def main() -> None:
        async with erasure_rig(folder) as rig:
            await scene(rig)

    asyncio.run(asyncio.wait_for(main(), 60))
